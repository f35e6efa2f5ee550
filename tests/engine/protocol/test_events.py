"""CLI frames to turn events and errors."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, get_args

import pytest

from claude_server.core.errors import CliFailed, Overloaded, TurnError
from claude_server.core.model import (
    BlockEnded,
    StopReason,
    TextDelta,
    Thinking,
    ThinkingDelta,
    TurnDone,
    TurnEvent,
    TurnStarted,
    Usage,
)
from claude_server.engine.protocol.events import TurnTranslator
from tests.engine.lines import assistant, block, call, ending, failed, result, start, stream, text

NOW = 1_800_000_000.0
GOES_ON = ["max_tokens", "model_context_window_exceeded", "refusal"]


def run(frames: Sequence[dict[str, Any]], translator: TurnTranslator | None = None) -> list[TurnEvent]:
    translator = translator or TurnTranslator(clock=lambda: NOW)
    return [event for frame in frames for event in translator.translate(frame)]


def end_of(frames: Sequence[dict[str, Any]], translator: TurnTranslator | None = None) -> TurnDone:
    end = run(frames, translator)[-1]
    assert isinstance(end, TurnDone)
    return end


def failure_of(*frames: dict[str, Any]) -> TurnError:
    with pytest.raises(TurnError) as raised:
        run(frames)
    return raised.value


def used(prompt: int, answer: int) -> dict[str, dict[str, int]]:
    return {"claude-x": {"inputTokens": prompt, "outputTokens": answer}}


# A turn that goes well


def test_a_turn() -> None:
    translator = TurnTranslator(engine="spawn")
    frames = [
        {"type": "system", "subtype": "init"},
        start(input_tokens=10, cache_read_input_tokens=200, cache_creation_input_tokens=3000),
        stream("content_block_start", index=0, content_block={"type": "thinking"}),
        stream("content_block_delta", delta={"type": "thinking_delta", "thinking": "hm"}),
        stream("content_block_delta", delta={"type": "signature_delta", "signature": "x"}),
        stream("content_block_stop", index=0),
        text("Hel"),
        text("lo"),
        assistant("mark-1"),
        *ending("end_turn", output_tokens=7),
        {"type": "something_new"},
    ]
    assert run(frames, translator) == [
        TurnStarted("claude-x"),
        ThinkingDelta("hm"),
        BlockEnded(Thinking("hm", "x")),
        TextDelta("Hel"),
        TextDelta("lo"),
    ]
    assert (translator.done, translator.clean) == (False, False)
    end = end_of([result(stop_reason="end_turn")], translator)
    assert (translator.done, translator.clean) == (True, True)
    assert 0 <= end.duration_ms < 60_000
    assert (end.stop_reason, end.model, end.engine, end.mark) == ("end_turn", "claude-x", "spawn", "mark-1")
    assert end.usage == Usage(10, 200, 3000, 7, 0)
    assert (end.cost_usd, end.total_cost_usd, translator.total_cost) == (0.25, 0.25, 0.25)


def test_the_start_is_told_once() -> None:
    frames = [
        start("one"),
        *ending("pause_turn"),
        start("two", input_tokens=5),
        text("a"),
        *ending("end_turn"),
        result(),
    ]
    events = run(frames)
    assert events[0] == TurnStarted("one")
    assert [type(event) for event in events] == [TurnStarted, TextDelta, TurnDone]
    end = events[-1]
    assert isinstance(end, TurnDone)
    assert (end.model, end.stop_reason, end.usage.input_tokens) == ("two", "end_turn", 5)


def test_the_mark_is_the_last_line_of_the_model() -> None:
    frames = [start(), assistant("a"), assistant("b"), assistant("c", "<synthetic>"), assistant(None)]
    assert end_of([*frames, result()]).mark == "b"
    assert end_of([start(), result()]).mark is None


@pytest.mark.parametrize("reason", sorted(set(get_args(StopReason)) - {*GOES_ON, "tool_use"}))
def test_stop_reasons(reason: str) -> None:
    assert end_of([start(), *ending(reason), result()]).stop_reason == reason


@pytest.mark.parametrize("reason", ["pause_turn", None])
def test_a_stop_reason_that_is_new(reason: str | None) -> None:
    assert end_of([start(), *ending(reason), result()]).stop_reason == "other"


def test_the_stop_reason_of_the_result_stands_in_for_a_missing_one() -> None:
    assert end_of([start(), result(stop_reason="stop_sequence")]).stop_reason == "stop_sequence"
    assert end_of([start(), *ending("end_turn"), result(stop_reason="x")]).stop_reason == "end_turn"


# What a client will send back


def answer_of(*frames: dict[str, Any], end: dict[str, Any] | None = None) -> str | None:
    translator = TurnTranslator()
    with contextlib.suppress(TurnError):
        run([start(), *frames, end or result()], translator)
    return translator.plain_answer


def test_an_answer_of_one_text() -> None:
    translator = TurnTranslator()
    frames = [start(), *block("text", text("Hel"), text("lo")), *ending("end_turn")]
    run(frames, translator)
    # Not before its end.
    assert translator.plain_answer is None
    run([result()], translator)
    assert translator.plain_answer == "Hello"


def test_an_answer_that_is_more_than_one_text() -> None:
    thinking = stream("content_block_delta", delta={"type": "thinking_delta", "thinking": "hm"})
    assert answer_of(*block("thinking", thinking), *block("text", text("a"))) is None
    assert answer_of(*block("text", text("a")), *block("text", text("b"))) is None
    assert answer_of(*block("text", text("a")), *call("f", "{}")) is None


def test_an_answer_of_nothing() -> None:
    assert answer_of() is None
    assert answer_of(*block("text")) is None
    assert answer_of(*block("text", text(""))) is None


def test_an_answer_of_a_turn_that_failed_or_was_cut() -> None:
    assert answer_of(*block("text", text("a")), end=failed(529, "API Error: 529")) is None
    assert answer_of(*block("text", text("a")), ending("max_tokens")[0]) is None


# Usage


def test_the_usage_of_the_result_wins_where_it_says_something() -> None:
    counts = {
        "input_tokens": 1,
        "cache_read_input_tokens": None,
        "output_tokens": 9,
        "output_tokens_details": {"thinking_tokens": 4},
    }
    frames = [start(input_tokens=10, cache_read_input_tokens=20, cache_creation_input_tokens=30)]
    assert end_of([*frames, result(usage=counts)]).usage == Usage(1, 20, 30, 9, 4)


def test_thinking_tokens_of_the_stream_are_kept() -> None:
    details = {"thinking_tokens": 6}
    frames = [start(), *ending("end_turn", output_tokens=8, output_tokens_details=details)]
    assert end_of([*frames, result(usage={"output_tokens": 8})]).usage == Usage(0, 0, 0, 8, 6)


def test_no_counts_at_all() -> None:
    no_usage = stream("message_start", message={"model": "m"})
    assert end_of([no_usage, result(usage=None)]).usage == Usage()


# Turns that the CLI would go on with by itself


INTERRUPTED = {"subtype": "error_during_execution", "is_error": True, "errors": ["interrupted"]}


def cut(reason: str, translator: TurnTranslator) -> None:
    """A first answer, and what the CLI says of a second one."""
    frames = [start(input_tokens=3), text("a"), assistant("m"), *ending(reason, output_tokens=1)]
    assert run(frames, translator) == [TurnStarted("claude-x"), TextDelta("a")]
    assert (translator.cut, translator.done, translator.clean) == (True, False, False)
    again = [start("other", input_tokens=9), text("b"), assistant("n"), *ending("end_turn", output_tokens=8)]
    assert run([*again, *ending("tool_use")], translator) == []


@pytest.mark.parametrize("reason", GOES_ON)
@pytest.mark.parametrize("last", [{}, INTERRUPTED], ids=["success", "interrupted"])
def test_a_turn_that_the_cli_would_go_on_with_ends_with_its_result(reason: str, last: dict[str, Any]) -> None:
    translator = TurnTranslator(cost_before=0.125)
    cut(reason, translator)
    # Of the counts, only the cost is of both answers: both were paid for.
    end = end_of([result(usage={"output_tokens": 99}, stop_reason="end_turn", **last)], translator)
    assert (end.stop_reason, end.model, end.mark) == (reason, "claude-x", "m")
    assert end.usage == Usage(3, 0, 0, 1)
    assert (end.cost_usd, end.total_cost_usd, translator.total_cost) == (0.125, 0.25, 0.25)
    assert (translator.done, translator.clean) == (True, True)
    assert translator.plain_answer is None


@pytest.mark.parametrize("reason", GOES_ON)
def test_a_cut_turn_without_a_result(reason: str) -> None:
    translator = TurnTranslator(restored_cost=2.0)
    cut(reason, translator)
    end = translator.finish_early()
    assert (end.stop_reason, end.usage, end.mark, end.cost_usd) == (reason, Usage(3, 0, 0, 1), None, None)
    # A total of nothing would charge the session's next turn for all the turns before.
    assert end.total_cost_usd is None
    # The process goes on asking the model: it must not be used again.
    assert (translator.done, translator.clean) == (True, False)


# An answer that nobody sees

NOTHING: list[list[dict[str, Any]]] = [
    [],
    block("text"),
    block("text", text(" \n\t\u00a0\ufeff")),
    block("thinking", stream("content_block_delta", delta={"type": "thinking_delta", "thinking": "hm"})),
    [*block("redacted_thinking", data="ZGF0YQ=="), *block("text", text("\n"))],
]


@pytest.mark.parametrize("said", NOTHING)
@pytest.mark.parametrize("reason", ["end_turn", "stop_sequence"])
def test_an_answer_without_visible_text_ends_at_once(reason: str, said: list[dict[str, Any]]) -> None:
    """The CLI would ask the model again by itself, so its process is not even waited for."""
    translator = TurnTranslator()
    delta, *_ = ending(reason, output_tokens=4)
    end = end_of([start(), *said, assistant("m1"), delta], translator)
    assert (end.stop_reason, end.usage.output_tokens, end.api_requests) == (reason, 4, 1)
    assert (end.mark, end.cost_usd, end.total_cost_usd) == (None, None, None)
    assert (translator.deserted, translator.done, translator.clean) == (True, True, False)
    again = [start(), text("more"), *ending("end_turn"), result()]
    assert run(again, translator) == []


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (block("text", text(" "), text("a")), "end_turn"),
        (call("f", "{}"), "tool_use"),
        ([], "max_tokens"),
        ([], "refusal"),
        ([], None),
    ],
)
def test_what_the_cli_does_not_ask_again_for(said: list[dict[str, Any]], reason: str | None) -> None:
    translator = TurnTranslator()
    run([start(), *said, *ending(reason)], translator)
    assert (translator.deserted, translator.done) == (False, False)


@pytest.mark.parametrize(("reason", "answered"), [("end_turn", True), ("stop_sequence", True), (None, False)])
def test_a_whole_answer_whose_result_is_not_there(reason: str | None, answered: bool) -> None:
    translator = TurnTranslator()
    run([start(), text("a"), assistant("m1"), *ending(reason)[:1]], translator)
    assert not translator.said_all
    run([stream("message_stop")], translator)
    assert translator.said_all is answered
    end = translator.finish_early()
    # The answer is whole: a session goes on from it.
    assert (end.mark, end.cost_usd, end.total_cost_usd) == ("m1", None, None)
    assert not translator.clean
    running = TurnTranslator(runs_tools=True)
    run([start(), text("a"), *ending(reason), stream("message_stop")], running)
    assert not running.said_all


# Costs


def test_costs_add_up_over_a_process() -> None:
    translator = TurnTranslator(cost_before=0.25)
    end = end_of([start(), result(total_cost_usd=0.375, modelUsage=used(1000, 1000))], translator)
    assert (end.cost_usd, end.total_cost_usd) == (0.125, 0.375)


def test_a_resumed_session_that_counts_on() -> None:
    translator = TurnTranslator(restored_cost=0.25)
    frames = [start(input_tokens=10), text("a"), *ending("end_turn", output_tokens=5)]
    end = end_of([*frames, result(total_cost_usd=0.375, modelUsage=used(110, 55))], translator)
    assert (end.cost_usd, end.total_cost_usd) == (0.125, 0.375)


def test_a_resumed_session_that_begins_anew() -> None:
    translator = TurnTranslator(restored_cost=0.25)
    frames = [start(input_tokens=10), text("a"), *ending("end_turn", output_tokens=5)]
    end = end_of([*frames, result(total_cost_usd=0.125, modelUsage=used(10, 5))], translator)
    assert end.cost_usd == 0.125


def test_a_session_whose_total_is_not_known() -> None:
    frames = [start(input_tokens=10), text("a"), *ending("end_turn", output_tokens=5)]
    end = end_of([*frames, result(total_cost_usd=0.5, modelUsage=used(110, 55))])
    assert (end.cost_usd, end.total_cost_usd) == (None, 0.5)


def test_all_kinds_of_tokens_tell_that_a_session_counts_on() -> None:
    models: dict[str, dict[str, int | None]] = {
        "a": {"cacheReadInputTokens": 10, "cacheCreationInputTokens": None},
        "b": {"cacheCreationInputTokens": 5, "costUSD": 1},
    }
    frames = [start(input_tokens=10), text("a"), *ending("end_turn", output_tokens=5)]
    assert end_of([*frames, result(modelUsage=models)]).cost_usd == 0.25
    models["b"]["outputTokens"] = 1
    assert end_of([*frames, result(modelUsage=models)]).cost_usd is None


def test_a_cost_is_never_negative() -> None:
    assert end_of([start(), result(total_cost_usd=0.1)], TurnTranslator(cost_before=0.5)).cost_usd == 0
    assert end_of([start(), result(total_cost_usd=None)]).cost_usd == 0


def test_a_failed_turn_costs_too() -> None:
    translator = TurnTranslator()
    with pytest.raises(Overloaded):
        translator.translate(failed(529, "API Error: 529"))
    assert (translator.total_cost, translator.clean, translator.done) == (0.25, True, False)


# What a turn shows of the login


@pytest.mark.parametrize(
    ("frame", "answered", "clean"),
    [
        (failed(401, "Failed to authenticate."), False, False),
        (failed(None, "API Error: x", api_error_type="authentication_error"), False, False),
        (failed(None, "Not logged in · Please run /login"), False, False),
        (failed(None, "API Error: Connection refused"), False, True),
        (failed(403, "Failed to authenticate."), True, True),
        (failed(529, "API Error: 529"), True, True),
        (failed(400, "API Error: 400"), True, True),
        (failed(None, "API Error: x", api_error_type="billing_error"), True, True),
    ],
)
def test_what_a_failed_turn_shows_of_the_login(frame: dict[str, Any], answered: bool, clean: bool) -> None:
    """And whether its process, which may hold an old one, can be used again."""
    translator = TurnTranslator()
    with pytest.raises(TurnError):
        run([frame], translator)
    assert (translator.answered, translator.clean) == (answered, clean)


def test_an_answer_that_begins_shows_that_the_login_is_good() -> None:
    translator = TurnTranslator()
    assert not translator.answered
    translator.translate(start())
    assert translator.answered


def test_an_answer_that_no_model_gave_is_a_failure() -> None:
    translator = TurnTranslator()
    with pytest.raises(CliFailed, match="answered by itself instead of asking the model"):
        run([assistant("x", "<synthetic>"), result(result="Total cost: $0")], translator)
    assert not translator.done


def test_own_tools_ask_the_model_again_but_only_after_a_whole_message() -> None:
    """What breaks off in between fails, as in any turn."""
    translator = TurnTranslator(runs_tools=True)
    message = {"type": "message_start", "message": {"model": "m", "usage": {}}}
    block = {"type": "content_block_start", "content_block": {"type": "text", "text": ""}}
    end = {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {}}
    for event in (message, block, end, message, block):
        translator.translate({"type": "stream_event", "event": event})
    with pytest.raises(CliFailed, match="broke off"):
        translator.translate({"type": "stream_event", "event": message})
