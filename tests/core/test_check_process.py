"""Schemas that may take long are held against elsewhere, so that no answer can stop the server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from claude_server.core.answer_check import AnswerChecker
from claude_server.core.answer_format import AnswerFormat
from claude_server.core.check_process import check_event
from claude_server.core.errors import InvalidAnswer
from claude_server.core.model import TextDelta, TurnDone, Usage

DONE = TurnDone("end_turn", Usage(), "m", None, 1)


def doubled(times: int) -> AnswerFormat:
    """Each part refers to the next one twice: 2 to the power of `times` looks at one value."""
    parts: dict[str, Any] = {
        f"p{i}": {"anyOf": [{"$ref": f"#/$defs/p{i + 1}"}] * 2} for i in range(times)
    } | {f"p{times}": {"type": "string"}}
    return AnswerFormat(json.dumps({"$ref": "#/$defs/p0", "$defs": parts}))


async def ended(form: AnswerFormat, text: str) -> None:
    """Feed a whole answer."""
    check = AnswerChecker(form)
    assert await check_event(check, TextDelta(text)) == (TextDelta(text),)
    assert await check_event(check, DONE) == (DONE,)


# Quick, but nobody can know.
UNKNOWN = AnswerFormat(
    '{"$id": "x:", "type": "string", "minLength": 1, "allOf": [{"$ref": "x:#/$defs/a"}], "$defs": {"a": {}}}'
)


LARGE_PATTERN = AnswerFormat(r'{"type": "string", "pattern": "^\\p{L}{0,300}$"}')


@pytest.mark.parametrize("form", [doubled(2), UNKNOWN, LARGE_PATTERN], ids=["here", "elsewhere", "pattern"])
async def test_right_and_wrong_answers(form: AnswerFormat) -> None:
    assert form.is_expensive("1") == (form in (UNKNOWN, LARGE_PATTERN))
    await ended(form, '"é"')
    with pytest.raises(InvalidAnswer, match="half a character"):
        await ended(form, '"\\ud800"')
    with pytest.raises(InvalidAnswer, match="fails at the top"):
        await ended(form, "1")
    with pytest.raises(InvalidAnswer, match="not the JSON"):
        await ended(form, "{")


def recursive(place: str) -> AnswerFormat:
    return AnswerFormat(json.dumps({"$defs": {"a": {"items": {"$ref": place}}}, "$ref": "#/$defs/a"}))


@pytest.mark.parametrize(
    ("form", "text", "long"),
    [
        (AnswerFormat(), "{" * 100_000, False),
        (AnswerFormat('{"type": "object"}'), "x" * 1_000_000, False),
        (doubled(5), "x" * 10_000, False),
        (doubled(5), "x" * 100_000, True),
        (doubled(60), "1", True),
        (doubled(2_000), "1", True),
        (AnswerFormat(json.dumps({"enum": ["x" * 100_000]})), "1", True),
        *((recursive(place), "1", True) for place in ("#", "#/$defs/a", "#/$defs/b", "x:y")),
    ],
)
def test_what_may_take_long(form: AnswerFormat, text: str, long: bool) -> None:
    assert form.is_expensive(text) is long


async def test_a_check_without_an_end_does_not_stop_the_others() -> None:
    asked = asyncio.create_task(ended(doubled(60), "1"))
    others = 0
    while not asked.done():
        await asyncio.wait([asked], timeout=0.01)
        others += 1
    with pytest.raises(InvalidAnswer, match="too long"):
        await asked
    assert others > 5


async def test_a_turn_that_is_given_up_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    started: asyncio.Queue[asyncio.subprocess.Process] = asyncio.Queue()
    start = asyncio.create_subprocess_exec

    async def noted(*words: Any, **options: Any) -> asyncio.subprocess.Process:
        process = await start(*words, **options)
        started.put_nowait(process)
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
    asked = asyncio.create_task(ended(doubled(60), "1"))
    process = await started.get()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert await asyncio.wait_for(process.wait(), 10) == -9
