"""One try at a turn: frames in, events out, and the worker always given back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from claude_server.core.errors import (
    CliFailed,
    NotReady,
    Overloaded,
    ProcessSilent,
    SessionLost,
    TurnError,
    TurnTimeout,
)
from claude_server.core.model import (
    AttemptRequest,
    Message,
    TextDelta,
    TurnDone,
    TurnEvent,
    TurnRequest,
    TurnStarted,
)
from claude_server.engine.processes.argv import Launch
from claude_server.engine.protocol.advice import LoginAdvice
from claude_server.engine.protocol.control import Dialogue, Step, conversation, initialize
from claude_server.engine.protocol.events import TurnTranslator
from claude_server.engine.protocol.plain import PlainDialogue
from claude_server.engine.workers import attempt as attempt_module
from claude_server.engine.workers.attempt import CliAttempt
from claude_server.engine.workers.attempt_spec import AttemptSpec, Script, attempt_spec
from claude_server.engine.workers.state import Abilities
from claude_server.engine.workers.worker import Worker
from tests.engine.lines import login_use
from tests.engine.scripted import ScriptedProcess

Q = Message("user", ("Q",))
SPEC = attempt_spec(AttemptRequest(TurnRequest("t", Q), "", ()))
START: dict[str, Any] = {
    "type": "stream_event",
    "event": {"type": "message_start", "message": {"model": "m", "usage": {}}},
}
RESULT: dict[str, Any] = {"type": "result", "subtype": "success", "total_cost_usd": 0.1}
FAILED: dict[str, Any] = {**RESULT, "is_error": True, "api_error_status": 529, "result": "API Error: 529"}


def text(words: object) -> dict[str, Any]:
    delta = {"type": "text_delta", "text": words}
    return {"type": "stream_event", "event": {"type": "content_block_delta", "delta": delta}}


class Home:
    """Where the worker of these tests comes from and goes back to."""

    abilities = Abilities()

    def __init__(self, *before: Step, plain: bool = False) -> None:
        self.process = ScriptedProcess()
        self.worker = Worker(self.process, Launch(), self, lambda: 0.0)
        self.lease: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        # Each worker, and whether it can be used again.
        self.returned: list[tuple[Worker, bool]] = []
        self.scripts: list[Script] = []
        self._before = before
        self._plain = plain

    def hand_over(self) -> None:
        self.lease.set_result(self.worker)

    def attempt(self) -> CliAttempt:
        return CliAttempt(self.lease, SPEC, login_use())

    def script(self, spec: AttemptSpec, worker: Worker, advice: LoginAdvice) -> Script:
        translator = TurnTranslator()
        dialogue: Dialogue | PlainDialogue
        if self._plain:
            dialogue = PlainDialogue((), Message("user", ('{"type": "text"}',)), translator)
        else:
            dialogue = Dialogue((*self._before, *conversation((), Q)), translator)
        self.scripts.append(Script(dialogue, translator, spec))
        return self.scripts[-1]

    def release(self, worker: Worker, *, clean: bool) -> None:
        self.returned.append((worker, clean))

    def worker_ended(self, worker: Worker) -> None:
        raise AssertionError("in a turn, the attempt hears of the end")


async def collect(attempt: CliAttempt) -> list[TurnEvent]:
    return [event async for event in attempt]


async def until_error(attempt: CliAttempt) -> tuple[list[TurnEvent], TurnError]:
    events: list[TurnEvent] = []
    with pytest.raises(TurnError) as raised:
        async for event in attempt:
            events.append(event)
    return events, raised.value


def types(events: Sequence[TurnEvent]) -> list[type]:
    return [type(event) for event in events]


async def test_a_turn_on_a_worker_that_is_there() -> None:
    home = Home()
    home.hand_over()
    attempt = home.attempt()
    # Nothing has to happen in between: the question is out.
    assert [line["type"] for line in home.process.written] == ["user"]
    home.process.say(START, text("Hel"), text("lo"), RESULT)
    events = await collect(attempt)
    assert events[:3] == [TurnStarted("m"), TextDelta("Hel"), TextDelta("lo")]
    assert types(events[3:]) == [TurnDone]
    assert home.returned == []
    attempt.close()
    assert home.returned == [(home.worker, True)] and home.worker.turns == 1
    assert not home.process.input_closed


async def test_a_turn_on_a_worker_that_comes_later() -> None:
    home = Home()
    attempt = home.attempt()
    reading = asyncio.ensure_future(collect(attempt))
    await asyncio.sleep(0)
    assert home.process.written == []
    home.hand_over()
    await asyncio.sleep(0)
    assert [line["type"] for line in home.process.written] == ["user"]
    home.process.say(START, RESULT)
    assert types(await reading) == [TurnStarted, TurnDone]
    attempt.close()
    assert len(home.returned) == 1


async def test_steps_and_input_that_is_taken_are_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 10.0
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "time", lambda: now)
    home = Home(*conversation((Q, Message("assistant", ("A",))), Q)[:1])
    attempt = home.attempt()
    now = 11.0
    home.process.backlog = 5000
    home.hand_over()
    await asyncio.sleep(0)
    # Its process is there, and is told the first message.
    assert attempt.progressed_at() == 11.0
    now = 12.0
    assert attempt.progressed_at() == 11.0
    # Of a message of megabytes it has read a part.
    home.process.backlog = 3000
    assert attempt.progressed_at() == 12.0
    now = 13.0
    assert attempt.progressed_at() == 12.0
    now = 14.0
    # The message is taken, the question is asked.
    home.process.say({"type": "result", "subtype": "success", "num_turns": 0})
    assert attempt.progressed_at() == 14.0
    now = 15.0
    home.process.say({"type": "system", "subtype": "status"})
    assert attempt.progressed_at() == 14.0
    attempt.close()


async def test_events_come_as_the_frames_do() -> None:
    home = Home()
    home.hand_over()
    attempt = home.attempt()
    frames = (START, text("a"), text("b"), RESULT)
    for frame, kind in zip(frames, (TurnStarted, TextDelta, TextDelta, TurnDone), strict=True):
        waiting = asyncio.ensure_future(attempt.__anext__())
        await asyncio.sleep(0)
        assert not waiting.done()
        home.process.say(frame)
        assert isinstance(await waiting, kind)
    with pytest.raises(StopAsyncIteration):
        await attempt.__anext__()
    attempt.close()


async def test_each_step_follows_its_answer() -> None:
    home = Home(initialize("S"))
    home.hand_over()
    attempt = home.attempt()
    assert [line["type"] for line in home.process.written] == ["control_request"]
    # The scripted process answers by itself.
    await asyncio.sleep(0)
    assert [line["type"] for line in home.process.written] == ["control_request", "user"]
    attempt.close()


async def test_what_the_process_asks_for_is_answered() -> None:
    home = Home()
    home.hand_over()
    attempt = home.attempt()
    home.process.say({"type": "control_request", "request_id": "theirs", "request": {"subtype": "x"}})
    assert home.process.written[-1]["response"]["request_id"] == "theirs"
    attempt.close()


async def test_a_plain_turn_ends_its_input() -> None:
    home = Home(plain=True)
    home.hand_over()
    attempt = home.attempt()
    assert home.process.written == [{"type": "text"}]
    assert home.process.input_closed
    home.process.say({**RESULT, "num_turns": 1, "result": "A"})
    assert types(await collect(attempt)) == [TurnStarted, TextDelta, TurnDone]
    attempt.close()


# Turns that are cut


CUT: dict[str, Any] = {
    "type": "stream_event",
    "event": {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {"output_tokens": 3}},
}
MESSAGE_STOP: dict[str, Any] = {"type": "stream_event", "event": {"type": "message_stop"}}


def stop(reason: str) -> dict[str, Any]:
    event = {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 3}}
    return {"type": "stream_event", "event": event}


MARK: dict[str, Any] = {"type": "assistant", "uuid": "m1", "message": {"model": "m"}}


def cut(home: Home) -> CliAttempt:
    """An attempt whose answer has ended, though not its turn."""
    home.hand_over()
    attempt = home.attempt()
    home.process.say(START, text("a"), MARK, CUT, START, text("b"))
    subtypes = [line["request"]["subtype"] for line in home.process.written if "request" in line]
    assert subtypes == ["interrupt"]
    return attempt


async def test_a_cut_turn_ends_with_its_result() -> None:
    home = Home()
    attempt = cut(home)
    reading = asyncio.ensure_future(collect(attempt))
    await asyncio.sleep(0)
    assert not reading.done()
    home.process.say({**RESULT, "subtype": "error_during_execution", "is_error": True})
    *events, end = await reading
    assert events == [TurnStarted("m"), TextDelta("a")]
    assert isinstance(end, TurnDone)
    assert (end.stop_reason, end.mark, end.cost_usd, end.usage.output_tokens) == ("max_tokens", "m1", 0.1, 3)
    attempt.close()
    assert home.returned == [(home.worker, True)]


async def test_a_cut_turn_without_a_result_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt_module, "_RESULT_TIMEOUT", 0.01)
    home = Home()
    attempt = cut(home)
    *events, end = await collect(attempt)
    assert events == [TurnStarted("m"), TextDelta("a")]
    assert isinstance(end, TurnDone)
    assert (end.stop_reason, end.mark, end.cost_usd, end.total_cost_usd) == ("max_tokens", None, None, None)
    attempt.close()
    assert home.returned == [(home.worker, False)]


async def test_a_cut_turn_that_was_given_up_has_no_second_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its result comes while the client still takes what was said."""
    monkeypatch.setattr(attempt_module, "_RESULT_TIMEOUT", 0.01)
    home = Home()
    attempt = cut(home)
    assert types(await collect(attempt)) == [TurnStarted, TextDelta, TurnDone]
    home.process.say(RESULT)
    assert await collect(attempt) == []
    attempt.close()


async def test_an_answer_without_visible_text_ends_its_process() -> None:
    """Before it can ask the model again."""
    home = Home()
    home.hand_over()
    attempt = home.attempt()
    home.process.say(START, stop("end_turn"))
    assert home.process.killed
    home.process.exit(-9)
    assert types(await collect(attempt)) == [TurnStarted, TurnDone]
    attempt.close()
    assert home.returned == [(home.worker, False)]


async def test_a_whole_answer_whose_result_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API may leave its connection open, and then the CLI waits."""
    monkeypatch.setattr(attempt_module, "_RESULT_TIMEOUT", 0.01)
    home = Home()
    home.hand_over()
    attempt = home.attempt()
    home.process.say(START, text("a"), MARK, stop("end_turn"), MESSAGE_STOP)
    *events, end = await collect(attempt)
    assert events == [TurnStarted("m"), TextDelta("a")]
    assert isinstance(end, TurnDone)
    assert (end.stop_reason, end.mark, end.cost_usd) == ("end_turn", "m1", None)
    attempt.close()
    assert home.returned == [(home.worker, False)]


@pytest.mark.parametrize("last", ["a result", "an error", "a close"])
async def test_a_cut_turn_that_has_ended_is_not_given_up(monkeypatch: pytest.MonkeyPatch, last: str) -> None:
    monkeypatch.setattr(attempt_module, "_RESULT_TIMEOUT", 0.0)
    home = Home()
    attempt = cut(home)
    if last == "a close":
        attempt.close()
    elif last == "a result":
        home.process.say(RESULT)
    else:
        attempt.fail(TurnTimeout("late"))
    passed = asyncio.Event()
    asyncio.get_running_loop().call_later(0.001, passed.set)
    await passed.wait()
    (script,) = home.scripts
    assert script.translator.done == (last == "a result")
    if last == "a result":
        assert types(await collect(attempt)) == [TurnStarted, TextDelta, TurnDone]
    attempt.close()
    assert len(home.returned) == 1


# Errors


async def test_an_error_comes_after_the_events_before_it() -> None:
    home = Home()
    home.hand_over()
    attempt = home.attempt()
    home.process.say(START, text("a"), FAILED)
    events, error = await until_error(attempt)
    assert events == [TurnStarted("m"), TextDelta("a")]
    assert type(error) is Overloaded
    # And it stays.
    assert (await until_error(attempt))[0] == []
    attempt.close()
    assert home.returned == [(home.worker, True)]


async def test_an_error_wakes_who_waits() -> None:
    home = Home()
    home.hand_over()
    attempt = home.attempt()
    reading = asyncio.ensure_future(until_error(attempt))
    await asyncio.sleep(0)
    home.process.say(FAILED)
    assert type((await reading)[1]) is Overloaded
    attempt.close()


async def test_a_deadline_from_outside() -> None:
    home = Home()
    attempt = home.attempt()
    reading = asyncio.ensure_future(until_error(attempt))
    await asyncio.sleep(0)
    attempt.fail(TurnTimeout("late"))
    # Too late to be the reason.
    attempt.fail(CliFailed("other"))
    assert (await reading)[1].message == "late"
    attempt.close()
    assert home.lease.cancelled()


async def test_a_deadline_after_the_end_changes_nothing() -> None:
    home = Home()
    home.hand_over()
    attempt = home.attempt()
    home.process.say(START, RESULT)
    attempt.fail(TurnTimeout("late"))
    assert types(await collect(attempt)) == [TurnStarted, TurnDone]
    attempt.close()


@pytest.mark.parametrize("error", [NotReady("no CLI"), CliFailed("again", retry_after=2)])
async def test_a_lease_that_fails(error: TurnError) -> None:
    home = Home()
    attempt = home.attempt()
    home.lease.set_exception(error)
    assert await until_error(attempt) == ([], error)
    attempt.close()
    assert home.returned == []


async def test_a_lease_that_fails_in_an_unforeseen_way() -> None:
    home = Home()
    home.lease.set_exception(ZeroDivisionError("made up"))
    attempt = home.attempt()
    _, error = await until_error(attempt)
    assert type(error) is CliFailed
    assert "ZeroDivisionError" in error.message
    attempt.close()


async def test_a_lease_that_somebody_else_cancels() -> None:
    """Whoever waits for the attempt must not wait for ever."""
    home = Home()
    attempt = home.attempt()
    reading = asyncio.ensure_future(until_error(attempt))
    await asyncio.sleep(0)
    home.lease.cancel()
    done, _ = await asyncio.wait([reading], timeout=1)
    reading.cancel()
    assert done, "it waits for ever"
    assert type(reading.result()[1]) is CliFailed
    attempt.close()


@pytest.mark.parametrize(
    ("code", "stderr", "kind"),
    [
        (1, "No conversation found with session ID: x\n", SessionLost),
        (1, "error: unknown option '--x'\n", NotReady),
        (-9, "", CliFailed),
    ],
)
@pytest.mark.parametrize("before", [True, False])
async def test_the_process_ends_in_the_turn(
    code: int, stderr: str, kind: type[TurnError], before: bool
) -> None:
    """Or before it, when nobody listened."""
    home = Home()
    if before:
        home.process.exit(code, stderr)
    home.hand_over()
    attempt = home.attempt()
    if not before:
        home.process.exit(code, stderr)
    assert type((await until_error(attempt))[1]) is kind
    attempt.close()
    # Nothing was said to one that had ended before.
    assert home.returned == [(home.worker, before)] and len(home.scripts) == (not before)


async def test_the_process_ends_after_its_turn() -> None:
    home = Home()
    home.hand_over()
    attempt = home.attempt()
    home.process.say(START, RESULT)
    home.process.exit(1, "noise at the end\n")
    assert types(await collect(attempt)) == [TurnStarted, TurnDone]
    attempt.close()


async def test_output_that_is_nonsense() -> None:
    home = Home()
    home.hand_over()
    attempt = home.attempt()
    home.process.pipe_data_received(1, b"garbage\n" * 11)
    _, error = await until_error(attempt)
    assert error.message == "The claude CLI kept writing lines that are no JSON objects."
    attempt.close()


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "stream_event"},
        {"type": "stream_event", "event": None},
        {"type": "stream_event", "event": {"type": "content_block_delta"}},
        {"type": "stream_event", "event": {"type": "message_start", "message": None}},
        {"type": "stream_event", "event": {"type": "message_start", "message": {"model": "m", "usage": "x"}}},
        {"type": "stream_event", "event": ["message_start"]},
        {"type": "assistant", "message": None},
        {"type": "control_request"},
        {"type": "control_response"},
        {"type": "control_response", "response": None},
        {"type": "result", "subtype": "success", "total_cost_usd": [1]},
        {"type": "result", "subtype": "success", "total_cost_usd": "a lot"},
        {"type": "result", "subtype": "success", "usage": [1]},
        {"type": "result", "subtype": "success", "modelUsage": [1]},
    ],
)
async def test_a_frame_of_an_unknown_shape(frame: dict[str, Any]) -> None:
    """It fails the turn, at once: this CLI isn't one we understand."""
    home = Home()
    home.hand_over()
    attempt = home.attempt()
    home.process.say(START, frame)
    events, error = await until_error(attempt)
    assert events == [TurnStarted("m")]
    assert type(error) is CliFailed
    assert error.message.startswith(f"The claude CLI sent a {frame['type']} line that makes no sense: ")
    attempt.close()


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "new_kind", "event": None},
        {"type": "stream_event", "event": {"type": "new_kind"}},
        {"type": "stream_event", "event": {"type": "content_block_delta", "delta": {"type": "new_delta"}}},
        {"type": "system", "subtype": "new"},
        {"type": "rate_limit_event", "rate_limit_info": None},
    ],
)
async def test_what_is_new_is_passed_over(frame: dict[str, Any]) -> None:
    home = Home()
    home.hand_over()
    attempt = home.attempt()
    home.process.say(START, frame, text("a"), RESULT)
    assert types(await collect(attempt)) == [TurnStarted, TextDelta, TurnDone]
    attempt.close()


# Closing


async def test_closing_before_the_lease_gives_up_waiting() -> None:
    home = Home()
    attempt = home.attempt()
    attempt.close()
    assert home.lease.cancelled()
    await asyncio.sleep(0)
    assert (home.returned, home.scripts) == ([], [])


async def test_closing_between_the_hand_over_and_its_notice() -> None:
    """The worker goes back as it came: nothing was said to it."""
    home = Home()
    attempt = home.attempt()
    home.hand_over()
    attempt.close()
    assert home.returned == []
    await asyncio.sleep(0)
    assert home.returned == [(home.worker, True)] and home.worker.turns == 0
    assert (home.scripts, home.process.written) == ([], [])
    assert not home.lease.cancelled()


async def test_closing_in_the_turn_leaves_nothing_of_use() -> None:
    home = Home()
    home.hand_over()
    attempt = home.attempt()
    home.process.say(START, text("a"))
    attempt.close()
    assert home.returned == [(home.worker, False)]
    assert not home.scripts[0].translator.done


async def test_closing_twice_gives_back_once() -> None:
    home = Home()
    home.hand_over()
    attempt = home.attempt()
    attempt.close()
    attempt.close()
    assert len(home.returned) == 1


async def test_frames_after_the_close_are_nobodys() -> None:
    home = Home()
    home.hand_over()
    attempt = home.attempt()
    attempt.close()
    written = list(home.process.written)
    home.process.say({"type": "control_request", "request_id": "theirs", "request": {}}, START)
    home.process.exit(1)
    assert home.process.written == written
    assert len(home.returned) == 1


async def test_an_error_of_a_lease_that_was_given_up() -> None:
    home = Home()
    attempt = home.attempt()
    home.lease.set_exception(NotReady("no CLI"))
    attempt.close()
    await asyncio.sleep(0)
    assert home.returned == []


async def test_a_lease_may_be_a_task() -> None:
    home = Home()
    reached = asyncio.Event()

    async def later() -> Worker:
        reached.set()
        return await home.lease

    task = asyncio.ensure_future(later())
    attempt = CliAttempt(task, SPEC, login_use())
    await reached.wait()
    attempt.close()
    await asyncio.wait([task])
    assert task.cancelled()
    assert home.scripts == []


@pytest.mark.parametrize("idle", [4.9, 5.0])
async def test_a_worker_that_idled_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, idle: float) -> None:
    """Only one that idled for long: any other may take its time."""
    monkeypatch.setattr(attempt_module, "_SILENT_AFTER", 0.0)
    home = Home()
    home.worker.idle_since = -idle
    home.hand_over()
    attempt = home.attempt()
    if idle < 5.0:
        home.process.say(START, text("hi"), RESULT)
        assert types(await collect(attempt))[-1] is TurnDone
    else:
        assert isinstance((await until_error(attempt))[1], ProcessSilent)


async def test_a_worker_that_answers_is_no_longer_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt_module, "_SILENT_AFTER", 0.05)
    home = Home()
    home.worker.idle_since = -60.0
    home.hand_over()
    attempt = home.attempt()
    home.process.say(START)
    reading = asyncio.create_task(collect(attempt))
    assert not (await asyncio.wait([reading], timeout=0.2))[0]
    home.process.say(text("hi"), RESULT)
    assert types(await reading)[-1] is TurnDone
