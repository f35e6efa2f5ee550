"""An answer held against the form that was asked for."""

from __future__ import annotations

import pytest

from claude_server.core.answer_check import AnswerChecker
from claude_server.core.answer_format import AnswerFormat
from claude_server.core.errors import InvalidAnswer
from claude_server.core.model import (
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
    TurnDone,
    TurnEvent,
    TurnStarted,
    Usage,
)

SCHEMA = AnswerFormat('{"type":"object","required":["a"]}')
OBJECT = AnswerFormat()
BEFORE: list[TurnEvent] = [TurnStarted("m"), ThinkingDelta("hm")]
CALL: list[TurnEvent] = [ToolCallStarted("c", "f"), ToolCallDelta("{}")]


def done(reason: StopReason = "end_turn") -> TurnDone:
    return TurnDone(reason, Usage(), "m", None, 1)


def texts(*pieces: str) -> list[TurnEvent]:
    return [TextDelta(piece) for piece in pieces]


def run(form: AnswerFormat | None, events: list[TurnEvent]) -> list[list[TurnEvent]]:
    """What comes out for each event."""
    check = AnswerChecker(form)
    return [list(check.feed(event)) for event in events]


def test_without_a_form_everything_passes() -> None:
    events = [*BEFORE, *texts("no", "json"), *CALL, done()]
    assert run(None, events) == [[event] for event in events]


def test_an_answer_with_a_schema_passes_as_it_comes() -> None:
    events = [*BEFORE, *texts('{"a"', ": 1}"), done()]
    assert run(SCHEMA, events) == [[event] for event in events]


def test_an_object_is_held_to_its_end_and_comes_without_fences() -> None:
    events = [*BEFORE, *texts("```json\n", '{"b": 1}', "\n```"), done()]
    told = [[BEFORE[0]], [BEFORE[1]], [], [], [], [TextDelta('{"b": 1}'), done()]]
    assert run(OBJECT, events) == told


@pytest.mark.parametrize("form", [SCHEMA, OBJECT])
@pytest.mark.parametrize("reason", ["end_turn", "stop_sequence"])
@pytest.mark.parametrize("pieces", [[], ["Sure."], ['{"a": 1}', "x"], ["[]"]])
def test_an_answer_without_the_form(form: AnswerFormat, reason: StopReason, pieces: list[str]) -> None:
    check = AnswerChecker(form)
    for event in texts(*pieces):
        check.feed(event)
    with pytest.raises(InvalidAnswer):
        check.feed(done(reason))


@pytest.mark.parametrize("form", [SCHEMA, OBJECT])
@pytest.mark.parametrize(
    "reason", ["max_tokens", "model_context_window_exceeded", "tool_use", "refusal", "other"]
)
@pytest.mark.parametrize("pieces", [[], ['{"a": ']])
def test_an_answer_that_is_not_whole_has_no_form(
    form: AnswerFormat, reason: StopReason, pieces: list[str]
) -> None:
    """Its finish reason says so."""
    out = [event for row in run(form, [*texts(*pieces), *CALL, done(reason)]) for event in row]
    assert sorted(map(str, out)) == sorted(map(str, [*texts(*pieces), *CALL, done(reason)]))
    assert out[-1] == done(reason)
