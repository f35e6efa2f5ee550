"""CLI frames to turn events and errors."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from typing import Any, get_args

import pytest

from claude_cli.events import LOGIN_HINT, NOT_LOGGED_IN, TurnTranslator, error_from_exit, error_from_result
from tests.claude_cli.lines import (
    assistant,
    block,
    call,
    ending,
    failed,
    limit,
    result,
    start,
    stream,
    text,
)
from turns.errors import (
    CliFailed,
    InvalidRequest,
    ModelNotFound,
    NotReady,
    Overloaded,
    PromptTooLong,
    RateLimited,
    RequestTooLarge,
    SessionLost,
    TurnError,
)
from turns.model import StopReason, TextDelta, ThinkingDelta, TurnDone, TurnEvent, TurnStarted, Usage

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
        *ending("stop_sequence"),
        start("two", input_tokens=5),
        *ending("end_turn"),
        result(),
    ]
    events = run(frames)
    assert events[0] == TurnStarted("one")
    assert [type(event) for event in events] == [TurnStarted, TurnDone]
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
    assert (translator.done, translator.clean, translator.login_problem) == (True, True, None)
    assert translator.plain_answer is None


@pytest.mark.parametrize("reason", GOES_ON)
def test_a_cut_turn_without_a_result(reason: str) -> None:
    translator = TurnTranslator(restored_cost=2.0)
    cut(reason, translator)
    end = translator.finish_cut()
    assert (end.stop_reason, end.usage, end.mark, end.cost_usd) == (reason, Usage(3, 0, 0, 1), None, None)
    # A total of nothing would charge the session's next turn for all the turns before.
    assert end.total_cost_usd is None
    # The process goes on asking the model: it must not be used again.
    assert (translator.done, translator.clean) == (True, False)


# Costs


def test_costs_add_up_over_a_process() -> None:
    translator = TurnTranslator(cost_before=0.25)
    end = end_of([start(), result(total_cost_usd=0.375, modelUsage=used(1000, 1000))], translator)
    assert (end.cost_usd, end.total_cost_usd) == (0.125, 0.375)


def test_a_resumed_session_that_counts_on() -> None:
    translator = TurnTranslator(restored_cost=0.25)
    frames = [start(input_tokens=10), *ending("end_turn", output_tokens=5)]
    end = end_of([*frames, result(total_cost_usd=0.375, modelUsage=used(110, 55))], translator)
    assert (end.cost_usd, end.total_cost_usd) == (0.125, 0.375)


def test_a_resumed_session_that_begins_anew() -> None:
    translator = TurnTranslator(restored_cost=0.25)
    frames = [start(input_tokens=10), *ending("end_turn", output_tokens=5)]
    end = end_of([*frames, result(total_cost_usd=0.125, modelUsage=used(10, 5))], translator)
    assert end.cost_usd == 0.125


def test_a_session_whose_total_is_not_known() -> None:
    frames = [start(input_tokens=10), *ending("end_turn", output_tokens=5)]
    end = end_of([*frames, result(total_cost_usd=0.5, modelUsage=used(110, 55))])
    assert (end.cost_usd, end.total_cost_usd) == (None, 0.5)


def test_all_kinds_of_tokens_tell_that_a_session_counts_on() -> None:
    models: dict[str, dict[str, int | None]] = {
        "a": {"cacheReadInputTokens": 10, "cacheCreationInputTokens": None},
        "b": {"cacheCreationInputTokens": 5, "costUSD": 1},
    }
    frames = [start(input_tokens=10), *ending("end_turn", output_tokens=5)]
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
    ("frame", "refused"),
    [
        (failed(401, "Failed to authenticate."), True),
        (failed(None, "Not logged in - Please run /login"), True),
        # It may be about the model alone.
        (failed(403, "Failed to authenticate."), False),
        (failed(529, "API Error: 529"), False),
        (failed(429, "You've hit your session limit"), False),
    ],
)
def test_what_a_failed_turn_shows_of_the_login(frame: dict[str, Any], refused: bool) -> None:
    translator = TurnTranslator()
    with pytest.raises(TurnError) as raised:
        run([start(), frame], translator)
    assert translator.login_problem == (raised.value.message if refused else None)


# Errors: each row of the facts' table


@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        (401, "Failed to authenticate. API Error: 401", NotReady),
        (403, "Failed to authenticate. API Error: 403", NotReady),
        (400, "API Error: 400 bad", InvalidRequest),
        (404, "There's an issue with the selected model (x).", ModelNotFound),
        (413, "Request too large (max 32MB).", RequestTooLarge),
        (429, "API Error: Request rejected (429)", RateLimited),
        (429, "API Error: Server is temporarily limiting requests", RateLimited),
        (500, "API Error: 500", Overloaded),
        (529, "API Error: 529 overloaded", Overloaded),
        (None, "API Error: Connection refused", CliFailed),
        (400, "Prompt is too long", PromptTooLong),
        (None, "Prompt is too long", PromptTooLong),
        (None, "No conversation found with session ID: x", SessionLost),
    ],
)
def test_api_errors(status: int | None, words: str, kind: type[TurnError]) -> None:
    error = failure_of(failed(status, words))
    assert type(error) is kind
    assert words in error.message
    assert error.retry_after is None


@pytest.mark.parametrize(
    "advice", ["", " Run --model to pick a different model.", " Run /model to pick a different model."]
)
def test_what_to_do_about_a_model_that_is_not_there(advice: str) -> None:
    error = failure_of(failed(404, f"It may not exist.{advice}"))
    assert error.message == "It may not exist. GET /v1/models lists names to choose from."


@pytest.mark.parametrize("status", [None, 401])
def test_what_to_do_about_a_missing_login(status: int | None) -> None:
    error = failure_of(failed(status, "Not logged in - Please run /login"))
    assert (type(error), error.message) == (NotReady, NOT_LOGGED_IN)


@pytest.mark.parametrize("status", [401, 403])
def test_what_to_do_about_a_login_that_is_refused(status: int) -> None:
    error = failure_of(failed(status, "API Error: invalid x-api-key"))
    assert type(error) is NotReady
    assert error.message == (
        "Anthropic refused the login or the API key: API Error: invalid x-api-key. If ANTHROPIC_API_KEY is "
        "set, correct or unset it and start the server again; else log in anew with `claude auth login`."
    )


def test_which_parameter_is_at_fault() -> None:
    assert failure_of(failed(404, "no model")).param == "model"
    assert failure_of(failed(400, "x", terminal_reason="prompt_too_long")).param == "messages"


def test_a_limit_names_its_reset() -> None:
    error = failure_of(
        limit(status="rejected", resetsAt=NOW + 90.5, rateLimitType="five_hour"),
        failed(429, "You've hit your session limit"),
    )
    assert type(error) is RateLimited
    assert error.retry_after == 90.5
    assert error.message == "You've hit your session limit (the limit resets at 2027-01-15 08:01:30 UTC)"


def test_a_limit_whose_reset_has_passed() -> None:
    error = failure_of(limit(status="rejected", resetsAt=NOW - 5), failed(429, "x"))
    assert error.retry_after == 0


def test_a_rejection_counts_without_a_status() -> None:
    error = failure_of(limit(status="rejected", resetsAt=NOW + 1), failed(None, "You've hit your limit"))
    assert (type(error), error.retry_after) == (RateLimited, 1)


@pytest.mark.parametrize("resets_at", [None, "soon"])
def test_a_limit_without_a_time(resets_at: object) -> None:
    error = failure_of(limit(status="rejected", resetsAt=resets_at), failed(429, "x"))
    assert (error.message, error.retry_after) == ("x", None)


def test_the_last_limit_that_was_told_holds() -> None:
    # Older CLIs have the fields on the event itself.
    bare = {"type": "rate_limit_event", "status": "rejected", "resetsAt": NOW + 7}
    error = failure_of(limit(status="allowed", resetsAt=NOW + 9999), bare, failed(429, "x"))
    assert error.retry_after == 7


def test_a_limit_that_is_not_reached_is_not_the_reason() -> None:
    # Each turn of a subscription tells when its five hours end; a brief 429 has nothing to do with that.
    error = failure_of(limit(status="allowed", resetsAt=NOW + 9999), failed(429, "limiting requests"))
    assert (type(error), error.message, error.retry_after) == (RateLimited, "limiting requests", None)


def test_an_allowed_limit_changes_no_other_error() -> None:
    assert type(failure_of(limit(status="allowed"), failed(529, "x"))) is Overloaded
    assert type(failure_of(limit(status="allowed"), failed(None, "x"))) is CliFailed


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (result(subtype="error_during_execution", errors=["one", "two"]), "one; two"),
        (result(subtype="error_max_turns"), "no reason given"),
        (result(subtype="error_during_execution", is_error=True, result="cut"), "cut"),
    ],
)
def test_other_bad_ends(frame: dict[str, Any], message: str) -> None:
    error = failure_of(start(), frame)
    assert (type(error), error.message) == (CliFailed, message)


def test_a_lost_session_in_the_errors_of_a_result() -> None:
    frame = result(
        subtype="error_during_execution",
        is_error=True,
        errors=["No conversation found with session ID: 1"],
    )
    assert type(error_from_result(frame, {}, NOW)) is SessionLost


def test_an_answer_that_no_model_gave_is_a_failure() -> None:
    translator = TurnTranslator()
    with pytest.raises(CliFailed, match="answered by itself instead of asking the model"):
        run([assistant("x", "<synthetic>"), result(result="Total cost: $0")], translator)
    assert not translator.done


# A process that ended too early


@pytest.mark.parametrize(
    ("code", "stderr", "kind", "message"),
    [
        (
            1,
            "warning\n  No conversation found with session ID: x  \n",
            SessionLost,
            "No conversation found with session ID: x",
        ),
        (
            1,
            "error: unknown option '--effort'\n",
            NotReady,
            "The claude CLI is too old for this server: error: unknown option '--effort' Update it.",
        ),
        (1, "Not logged in\n", NotReady, f"Not logged in {LOGIN_HINT}"),
        (1, "Invalid API key {x}", NotReady, f"Invalid API key {{x}} {LOGIN_HINT}"),
        (0, "", CliFailed, "The claude CLI ended with status 0 before the turn was complete."),
        (
            1,
            "first\nlast words \n\n",
            CliFailed,
            "The claude CLI ended with status 1 before the turn was complete. It said: last words",
        ),
        (-9, "", CliFailed, "The claude CLI was killed by signal 9 before the turn was complete."),
    ],
)
def test_exits(code: int, stderr: str, kind: type[TurnError], message: str) -> None:
    error = error_from_exit(code, stderr)
    assert (type(error), error.message) == (kind, message)


def test_an_exit_whose_status_is_not_known() -> None:
    assert re.search(r"before the turn was complete\.$", error_from_exit(None, "").message)


def test_last_words_are_cut() -> None:
    assert error_from_exit(1, "x" * 1000).message.endswith("It said: " + "x" * 300)


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
