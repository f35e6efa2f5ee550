"""The pipeline of a turn, on a backend that does what a script says."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_server.core.admission import Admission
from claude_server.core.answer_format import AnswerFormat
from claude_server.core.backend import EngineState
from claude_server.core.errors import (
    CliFailed,
    InvalidAnswer,
    NotReady,
    Overloaded,
    ProcessSilent,
    QueueFull,
    RateLimited,
    SessionConflict,
    SessionLost,
    ShuttingDown,
    StateFailed,
    ThoughtsMissing,
    ThoughtsRefused,
    TurnError,
    TurnTimeout,
)
from claude_server.core.model import (
    AttemptRequest,
    BlockEnded,
    Image,
    Message,
    ModelInfo,
    RedactedThinking,
    SessionPlan,
    SessionState,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
    TurnDone,
    TurnEvent,
    TurnRequest,
    TurnStarted,
    Usage,
    merge_deltas,
)
from claude_server.core.ports import SessionRecord, TurnEnd, TurnOutcome
from claude_server.core.retry import RetryPolicy
from claude_server.core.runner import Runner
from claude_server.core.sessions import session_uuid
from claude_server.core.watchdog import Deadlines
from claude_server.stores.sessions import SessionRegistry

QUESTION = Message("user", ("How?",))
HISTORY = (Message("user", ("Hi",)), Message("assistant", ("Hello",)))
STARTED = TurnStarted("claude-x")


def done(mark: str | None = "m1", cost: float | None = 0.5) -> TurnDone:
    return TurnDone("end_turn", Usage(3, 0, 0, 2), "claude-x", 0.1, 20, mark, cost, "spawn")


class Gate:
    """A point that an attempt reaches and doesn't pass until it is opened."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()


Step = TurnEvent | TurnError | Gate


class ScriptedAttempt:
    """Gives events, raises errors, waits at gates."""

    def __init__(self, steps: list[Step]) -> None:
        self._steps = iter(steps)
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed = 0

    def __aiter__(self) -> AsyncIterator[TurnEvent]:
        return self

    async def __anext__(self) -> TurnEvent:
        for step in self._steps:
            if isinstance(step, TurnError):
                raise step
            if not isinstance(step, Gate):
                return step
            step.reached.set()
            opened = asyncio.ensure_future(step.opened.wait())
            either: list[asyncio.Future[Any]] = [opened, self._failure]
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            finally:
                opened.cancel()
            if self._failure.done():
                self._failure.result()
        raise StopAsyncIteration

    def fail(self, error: TurnError) -> None:
        self._failure.set_exception(error)

    def progressed_at(self) -> float:
        return 0.0

    def close(self) -> None:
        self.closed += 1


class ScriptedBackend:
    """Each attempt takes the next script."""

    def __init__(self, *scripts: list[Step], transcripts: tuple[str, ...] = ()) -> None:
        self._scripts = list(scripts)
        self._transcripts = transcripts
        self.requests: list[AttemptRequest] = []
        self.attempts: list[ScriptedAttempt] = []
        self.state = EngineState(True, "spawn")
        self.models: tuple[ModelInfo, ...] = ()

    async def start(self) -> None: ...

    def probe_if_due(self) -> None: ...

    async def close(self) -> None: ...

    async def recheck_login(self) -> None: ...

    def open(self, request: AttemptRequest) -> ScriptedAttempt:
        self.requests.append(request)
        self.attempts.append(ScriptedAttempt(self._scripts.pop(0)))
        return self.attempts[-1]

    def has_transcript(self, session_uuid: str, mark: str = "", *, tools: bool = False) -> bool:
        # What is answered is kept.
        return bool(mark) or session_uuid in self._transcripts

    async def count_tokens(self, turn: TurnRequest) -> int:
        raise AssertionError("nothing is counted")

    def kept_sessions(self) -> frozenset[str]:
        return frozenset()

    def end_session(self, session_uuid: str) -> None: ...

    async def erase(self, session_uuid: str) -> bool:
        return False


class Bench:
    """A runner on scripts, and what can be seen of it."""

    def __init__(self, registry: SessionRegistry, backend: ScriptedBackend, **options: Any) -> None:
        self.backend = backend
        self.registry = registry
        self.slept: list[float] = []
        self.while_asleep: Callable[[], None] = lambda: None
        self.admission = Admission(options.get("capacity", 1), options.get("max_queue", 9), 60)
        self.runner = Runner(
            backend,
            registry,
            self.admission,
            RetryPolicy(options.get("retries", 2), 2.0),
            options.get("deadlines", Deadlines(60, 60, 60)),
            observers=options.get("observers", ()),
            jitter=lambda: 0.0,
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.while_asleep()

    async def turn(self, **fields: Any) -> list[TurnEvent]:
        return [event async for event in self.runner.run(request(**fields))]

    async def fails(self, kind: type[TurnError], **fields: Any) -> list[TurnEvent]:
        """The events that came before the error."""
        events: list[TurnEvent] = []
        with pytest.raises(kind):
            async for event in self.runner.run(request(**fields)):
                events.append(event)
        return events

    def assert_all_is_given_back(self) -> None:
        assert repr(self.admission).startswith("<Admission running=0/")
        assert self.admission.waiting == 0
        assert repr(self.registry).endswith("busy=[]>")
        assert [attempt.closed for attempt in self.backend.attempts] == [1] * len(self.backend.attempts)


def request(**fields: Any) -> TurnRequest:
    return TurnRequest(**{"id": "t", "question": QUESTION, "history": HISTORY, "system": "Be kind", **fields})


async def holds(fact: Callable[[], bool]) -> None:
    """Let the others run until a fact holds that no event tells."""
    while not fact():  # noqa: ASYNC110
        await asyncio.sleep(0)


Make = Callable[..., Bench]


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncGenerator[SessionRegistry, None]:
    made = SessionRegistry(tmp_path)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
def bench(registry: SessionRegistry) -> Make:
    def make(*scripts: list[Step], transcripts: tuple[str, ...] = (), **options: Any) -> Bench:
        return Bench(registry, ScriptedBackend(*scripts, transcripts=transcripts), **options)

    return make


@pytest.fixture
def stored(tmp_path: Path) -> Callable[[], list[tuple[Any, ...]]]:
    """What another process would read of the session records."""

    def read() -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(tmp_path / "sessions.sqlite3")) as db:
            return db.execute("SELECT session_id, system, mark, cost_usd, turns FROM sessions").fetchall()

    return read


# Without a session


async def test_a_turn(bench: Make) -> None:
    made = bench([STARTED, ThinkingDelta("hm"), TextDelta("a"), TextDelta("b"), done()])
    events = await made.turn(notices=("said",))
    assert events == [
        TurnStarted("claude-x", None, ("said",)),
        ThinkingDelta("hm"),
        TextDelta("a"),
        TextDelta("b"),
        TurnDone(
            *("end_turn", Usage(3, 0, 0, 2), "claude-x", 0.1, 20, "m1", 0.5, "spawn"),
            retries=0,
            session=None,
            notices=("said",),
        ),
    ]
    assert made.backend.requests == [AttemptRequest(request(notices=("said",)), "Be kind", HISTORY)]
    made.assert_all_is_given_back()


@pytest.mark.parametrize("before", [[], [ThinkingDelta("hm")]])
@pytest.mark.parametrize("delta", [TextDelta("a"), done()])
async def test_the_start_comes_with_the_first_text(bench: Make, before: list[Step], delta: TurnEvent) -> None:
    gate = Gate()
    made = bench([STARTED, *before, gate, delta, done()])
    run = made.runner.run(request())
    first = asyncio.ensure_future(anext(run))
    await gate.reached.wait()
    assert not first.done()
    gate.opened.set()
    assert await first == STARTED
    assert [await anext(run) for _ in (*before, delta)] == [*before, delta]
    await run.aclose()
    made.assert_all_is_given_back()


async def test_a_turn_without_text(bench: Make) -> None:
    assert await bench([STARTED, done()]).turn() == [STARTED, done()]


async def test_a_buffered_turn_gives_nothing_before_its_end(bench: Make) -> None:
    gate = Gate()
    made = bench([STARTED, TextDelta("a"), ThinkingDelta("hm"), TextDelta("b"), TextDelta("c"), gate, done()])
    run = made.runner.run(request(buffered=True))
    first = asyncio.ensure_future(anext(run))
    await gate.reached.wait()
    assert not first.done()
    gate.opened.set()
    events = [await first, *[event async for event in run]]
    assert events == [STARTED, TextDelta("a"), ThinkingDelta("hm"), TextDelta("bc"), done()]
    made.assert_all_is_given_back()


async def test_a_live_turn_is_retried_before_its_first_delta(bench: Make) -> None:
    made = bench([Overloaded("1")], [TurnStarted("other"), CliFailed("2")], [STARTED, TextDelta("a"), done()])
    events = await made.turn()
    assert events[:2] == [STARTED, TextDelta("a")]
    end = events[2]
    assert isinstance(end, TurnDone) and end.retries == 2
    assert len(events) == 3
    assert made.slept == [2, 4]
    made.assert_all_is_given_back()


@pytest.mark.parametrize("before", [[], [ThinkingDelta("hm")]])
async def test_a_live_turn_is_not_retried_after_a_text(bench: Make, before: list[Step]) -> None:
    made = bench([STARTED, *before, TextDelta("a"), Overloaded("x")])
    assert await made.fails(Overloaded) == [STARTED, *before, TextDelta("a")]
    assert made.slept == []
    made.assert_all_is_given_back()


async def test_a_live_turn_that_only_thought_is_retried(bench: Make) -> None:
    made = bench(
        [TurnStarted("other"), ThinkingDelta("leak"), Overloaded("x")],
        [STARTED, ThinkingDelta("hm"), TextDelta("a"), done()],
    )
    events = await made.turn()
    assert events[:3] == [STARTED, ThinkingDelta("hm"), TextDelta("a")]
    assert made.slept == [2]
    made.assert_all_is_given_back()


async def test_a_buffered_turn_is_retried_to_its_end(bench: Make) -> None:
    made = bench(
        [TurnStarted("other"), TextDelta("leak"), CliFailed("cut")],
        [STARTED, TextDelta("go"), TextDelta("od"), done()],
    )
    events = await made.turn(buffered=True)
    assert events[:2] == [STARTED, TextDelta("good")]
    end = events[2]
    assert isinstance(end, TurnDone) and end.retries == 1
    made.assert_all_is_given_back()


async def test_the_last_error_is_told_when_the_retries_are_used_up(bench: Make) -> None:
    made = bench([CliFailed("1")], [CliFailed("2")], [Overloaded("3")])
    assert await made.fails(Overloaded) == []
    assert made.slept == [2, 4]
    made.assert_all_is_given_back()


@pytest.mark.parametrize("buffered", [False, True])
async def test_what_will_not_pass_fails_at_once(bench: Make, buffered: bool) -> None:
    made = bench([NotReady("log in")])
    assert await made.fails(NotReady, buffered=buffered) == []
    assert made.slept == []
    made.assert_all_is_given_back()


async def test_a_limit_is_waited_for_up_to_a_minute(bench: Make) -> None:
    made = bench([RateLimited("x", retry_after=30)], [RateLimited("x", retry_after=61)])
    assert await made.fails(RateLimited) == []
    assert made.slept == [30]
    made.assert_all_is_given_back()


async def test_no_slot_is_held_while_backing_off(bench: Make) -> None:
    seen: list[tuple[int, int]] = []
    made = bench([Overloaded("x")], [STARTED, done()])
    made.while_asleep = lambda: seen.append((made.admission.running, made.backend.attempts[0].closed))
    await made.turn()
    assert seen == [(0, 1)]


async def test_a_silent_attempt_times_out_and_is_retried(bench: Make) -> None:
    made = bench([Gate()], [STARTED, done()], deadlines=Deadlines(60, 0.01, 60))
    events = await made.turn()
    assert isinstance(events[1], TurnDone) and events[1].retries == 1
    made.assert_all_is_given_back()


async def test_silence_after_an_event_times_out(bench: Make) -> None:
    made = bench([STARTED, TextDelta("a"), Gate()], deadlines=Deadlines(60, 60, 0.01))
    assert await made.fails(TurnTimeout) == [STARTED, TextDelta("a")]
    made.assert_all_is_given_back()


async def test_while_the_client_takes_its_time_the_cli_is_not_silent(bench: Make) -> None:
    gate = Gate()
    gate.opened.set()
    made = bench([STARTED, TextDelta("a"), gate, done()], deadlines=Deadlines(60, 60, 0.02))
    events = []
    async for event in made.runner.run(request()):
        events.append(type(event))
        if isinstance(event, TextDelta):
            # Longer than the CLI may be silent: here the time itself is what counts.
            await asyncio.sleep(0.06)
    assert events == [TurnStarted, TextDelta, TurnDone]
    made.assert_all_is_given_back()


async def test_a_full_queue(bench: Make) -> None:
    gate = Gate()
    made = bench([gate, STARTED, done()], max_queue=0)
    running = asyncio.create_task(made.turn())
    await gate.reached.wait()
    assert await made.fails(QueueFull) == []
    gate.opened.set()
    await running
    made.assert_all_is_given_back()


# What is shown, and the form of the answer


async def test_thinking_that_is_shown_begins_the_answer(bench: Make) -> None:
    gate = Gate()
    made = bench([STARTED, ThinkingDelta("hm"), gate, TextDelta("a"), done()])
    run = made.runner.run(request(shows_thinking=True))
    assert [await anext(run), await anext(run)] == [STARTED, ThinkingDelta("hm")]
    assert not gate.reached.is_set()
    await run.aclose()
    made.assert_all_is_given_back()


async def test_the_end_of_a_thought_begins_no_answer(bench: Make) -> None:
    thought = BlockEnded(Thinking("hm", "sig"))
    made = bench(
        [STARTED, BlockEnded(RedactedThinking("x")), Overloaded("x")],
        [STARTED, ThinkingDelta("hm"), thought, TextDelta("a"), BlockEnded(), done()],
    )
    told = [STARTED, ThinkingDelta("hm"), thought, TextDelta("a"), BlockEnded()]
    assert (await made.turn(shows_thinking=True))[:-1] == told
    made.assert_all_is_given_back()


async def test_the_end_of_a_block_comes_as_soon_as_the_answer_has_begun(bench: Make) -> None:
    gate = Gate()
    made = bench([STARTED, TextDelta("a"), BlockEnded(), gate, done()])
    run = made.runner.run(request())
    assert [await anext(run) for _ in range(3)] == [STARTED, TextDelta("a"), BlockEnded()]
    assert not gate.reached.is_set()
    await run.aclose()
    made.assert_all_is_given_back()


async def test_a_turn_without_the_thoughts_that_were_missed(bench: Make) -> None:
    """Asked again once, at once, and not as a retry of a turn that failed."""
    made = bench([ThoughtsMissing("x")], [STARTED, TextDelta("a"), done()], retries=0)
    end = (await made.turn())[-1]
    assert isinstance(end, TurnDone) and end.retries == 0
    assert [request.turn.thinking for request in made.backend.requests] == [True, False]
    assert made.slept == [0.0]
    made.assert_all_is_given_back()


@pytest.mark.parametrize("error", [ThoughtsMissing("x"), ThoughtsRefused("x")])
async def test_a_turn_that_is_refused_for_its_thoughts_twice(bench: Make, error: TurnError) -> None:
    history = (QUESTION, Message("assistant", (Thinking("hm", "sig"), "a")))
    made = bench([error], [error])
    assert await made.fails(type(error), history=history) == []
    sent = [request.history[1].blocks for request in made.backend.requests]
    assert sent == [history[1].blocks, ("a",)]
    made.assert_all_is_given_back()


async def test_a_turn_that_showed_its_thinking_is_not_retried(bench: Make) -> None:
    made = bench([STARTED, ThinkingDelta("hm"), Overloaded("x")])
    assert await made.fails(Overloaded, shows_thinking=True) == [STARTED, ThinkingDelta("hm")]
    made.assert_all_is_given_back()


@pytest.mark.parametrize("delta", [ToolCallStarted("c", "f"), TextDelta("a")])
async def test_a_call_begins_the_answer_too(bench: Make, delta: TurnEvent) -> None:
    made = bench([STARTED, delta, Overloaded("x")])
    assert await made.fails(Overloaded) == [STARTED, delta]
    assert made.slept == []


SCHEMA = AnswerFormat('{"type":"object","required":["a"]}')
GOOD, BAD = TextDelta('{"a": 1}'), TextDelta("Sure!")


@pytest.mark.parametrize("form", [SCHEMA, AnswerFormat()])
async def test_a_buffered_answer_without_its_form_is_asked_for_once_more(
    bench: Make, form: AnswerFormat
) -> None:
    made = bench([STARTED, BAD, done()], [STARTED, GOOD, done()])
    events = await made.turn(answer=form, buffered=True)
    assert events[:2] == [STARTED, GOOD]
    end = events[2]
    assert isinstance(end, TurnDone) and end.retries == 1
    assert made.slept == [0]
    made.assert_all_is_given_back()


async def test_a_second_answer_without_its_form_is_the_end(bench: Make) -> None:
    made = bench([STARTED, BAD, done()], [STARTED, BAD, done()], retries=9)
    assert await made.fails(InvalidAnswer, answer=SCHEMA, buffered=True) == []
    assert made.slept == [0]
    made.assert_all_is_given_back()


async def test_a_streamed_answer_without_its_form_fails_behind_what_was_told(bench: Make) -> None:
    made = bench([STARTED, BAD, done()])
    assert await made.fails(InvalidAnswer, answer=SCHEMA) == [STARTED, BAD]
    assert made.slept == []
    made.assert_all_is_given_back()


async def test_a_streamed_object_is_told_when_it_is_whole(bench: Make) -> None:
    """Its fences come off at the end; until then it can be asked for again."""
    gate = Gate()
    made = bench(
        [STARTED, BAD, done()], [STARTED, TextDelta("```json\n{}"), gate, TextDelta("\n```"), done()]
    )
    run = made.runner.run(request(answer=AnswerFormat()))
    first = asyncio.ensure_future(anext(run))
    await gate.reached.wait()
    assert not first.done()
    gate.opened.set()
    events = [await first, *[event async for event in run]]
    assert events[:2] == [STARTED, TextDelta("{}")] and isinstance(events[2], TurnDone)
    assert made.slept == [0]
    made.assert_all_is_given_back()


async def test_an_answer_without_its_form_is_not_recorded(
    bench: Make, stored: Callable[[], list[tuple[Any, ...]]]
) -> None:
    """The session goes on from the answer before."""
    made = bench([STARTED, GOOD, done("m1")], [STARTED, BAD, done("m2")])
    await made.turn(session_id="s")
    assert await made.fails(InvalidAnswer, session_id="s", answer=SCHEMA) == [
        TurnStarted("claude-x", "resumed"),
        BAD,
    ]
    (row,) = stored()
    assert row[2] == "m1"


# With a session


def plan_of(made: Bench, index: int = 0) -> SessionPlan | None:
    return made.backend.requests[index].session


async def test_a_new_session(bench: Make, stored: Callable[[], list[tuple[Any, ...]]]) -> None:
    gate = Gate()
    made = bench([gate, STARTED, TextDelta("a"), done()])
    run = made.runner.run(request(session_id="s"))
    first = asyncio.ensure_future(anext(run))
    await gate.reached.wait()
    assert stored() == [("s", "Be kind", None, None, 0)]
    gate.opened.set()
    assert await first == TurnStarted("claude-x", "created")
    await anext(run)
    end = await anext(run)
    assert isinstance(end, TurnDone) and end.session == "created"
    # The client has seen the end: what it goes on from is on disk.
    assert stored() == [("s", "Be kind", "m1", 0.5, 1)]
    await run.aclose()
    sent = made.backend.requests[0]
    assert (sent.system, sent.history) == ("Be kind", HISTORY)
    assert sent.session == SessionPlan(session_uuid("", "s"), "create")
    made.assert_all_is_given_back()


async def test_a_session_goes_on_from_its_last_answer(
    bench: Make, stored: Callable[[], list[tuple[Any, ...]]]
) -> None:
    made = bench([STARTED, done()], [STARTED, done("m2", 0.75)])
    await made.turn(session_id="s")
    events = await made.turn(session_id="s")
    sent = made.backend.requests[1]
    assert (sent.system, sent.history) == ("Be kind", ())
    assert sent.session == SessionPlan(session_uuid("", "s"), "resume", "m1", 0.5)
    assert events[0] == TurnStarted("claude-x", "resumed")
    assert stored() == [("s", "Be kind", "m2", 0.75, 2)]
    made.assert_all_is_given_back()


@pytest.mark.parametrize(
    ("system", "notices"),
    [
        ("", ("before",)),
        ("Be kind", ("before",)),
        ("Be rude", ("before", "a session keeps its first system prompt; the new one is ignored")),
    ],
)
async def test_a_session_keeps_its_system_prompt(bench: Make, system: str, notices: tuple[str, ...]) -> None:
    made = bench([STARTED, done()], [STARTED, done()])
    await made.turn(session_id="s")
    started, end = await made.turn(session_id="s", system=system, notices=("before",))
    assert isinstance(started, TurnStarted) and isinstance(end, TurnDone)
    assert started.notices == end.notices == notices
    assert made.backend.requests[1].system == "Be kind"


async def test_a_session_whose_first_turn_failed_is_made_anew(bench: Make) -> None:
    made = bench([NotReady("x")], [STARTED, done()])
    await made.fails(NotReady, session_id="s")
    started, _ = await made.turn(session_id="s", system="Be new")
    assert started == TurnStarted("claude-x", "created")
    assert plan_of(made, 1) == SessionPlan(session_uuid("", "s"), "create")
    assert (made.backend.requests[1].system, made.backend.requests[1].history) == ("Be new", HISTORY)


async def test_a_failed_later_turn_is_left_out_when_it_is_resumed(bench: Make) -> None:
    made = bench([STARTED, done()], [STARTED, TextDelta("a"), CliFailed("x")], [STARTED, done("m2")])
    await made.turn(session_id="s")
    await made.fails(CliFailed, session_id="s")
    await made.turn(session_id="s")
    assert plan_of(made, 2) == SessionPlan(session_uuid("", "s"), "resume", "m1", 0.5)


async def test_a_transcript_without_a_record_is_resumed(
    bench: Make, stored: Callable[[], list[tuple[Any, ...]]]
) -> None:
    name = session_uuid("", "s")
    made = bench([STARTED, done()], transcripts=(name,))
    started, _ = await made.turn(session_id="s")
    assert started == TurnStarted("claude-x", "resumed")
    assert plan_of(made) == SessionPlan(name, "resume")
    assert made.backend.requests[0].history == ()
    assert stored() == [("s", "Be kind", "m1", 0.5, 1)]


async def test_a_turn_that_left_no_mark_is_not_recorded(
    bench: Make, stored: Callable[[], list[tuple[Any, ...]]]
) -> None:
    made = bench([STARTED, done(None)])
    *_, end = await made.turn(session_id="s")
    assert isinstance(end, TurnDone)
    assert end.notices == (
        "nothing can follow on this answer: the session goes on as if this had not been asked",
    )
    assert stored() == [("s", "Be kind", None, None, 0)]


async def test_a_lost_session_is_made_again_from_the_request(
    bench: Make, stored: Callable[[], list[tuple[Any, ...]]]
) -> None:
    made = bench([STARTED, done()], [SessionLost("gone")], [STARTED, TextDelta("a"), done("m2")])
    await made.turn(session_id="s")
    events = await made.turn(session_id="s", system="Be new")
    # The new system prompt holds: the old conversation is gone.
    assert events[0] == TurnStarted("claude-x", "recreated", ())
    end = events[-1]
    assert isinstance(end, TurnDone) and (end.session, end.retries) == ("recreated", 0)
    sent = made.backend.requests[2]
    assert (sent.system, sent.history) == ("Be new", HISTORY)
    assert sent.session == SessionPlan(session_uuid("", "s"), "create")
    assert stored() == [("s", "Be new", "m2", 0.5, 1)]
    assert made.slept == [0]
    made.assert_all_is_given_back()


async def test_a_lost_session_keeps_its_system_prompt_if_the_request_has_none(bench: Make) -> None:
    made = bench([STARTED, done()], [SessionLost("gone")], [STARTED, done()])
    await made.turn(session_id="s")
    await made.turn(session_id="s", system="")
    assert made.backend.requests[2].system == "Be kind"


@pytest.mark.parametrize("session_id", [None, "s"])
async def test_a_loss_that_makes_no_sense_is_a_failure_of_the_cli(
    bench: Make, session_id: str | None
) -> None:
    made = bench([SessionLost("gone")], [SessionLost("gone again")])
    await made.fails(CliFailed, session_id=session_id)
    made.assert_all_is_given_back()


async def test_a_process_that_is_silent_costs_no_retry(bench: Make) -> None:
    made = bench([ProcessSilent("no answer")], [ProcessSilent("no answer")], [STARTED, done()])
    end = (await made.turn())[-1]
    assert isinstance(end, TurnDone) and end.retries == 0
    assert made.slept == [0, 0]
    made.assert_all_is_given_back()


async def test_a_session_of_another_key(bench: Make) -> None:
    made = bench([STARTED, done()])
    name = "0b4e7a0e-5c3a-4b53-8d8e-3a3f0a3f0a3f"
    assert (await made.turn(session_id=name, owner="a"))[0] == TurnStarted("claude-x", "created")
    for owner in ("b", ""):
        assert await made.fails(SessionConflict, session_id=name, owner=owner) == []
    made.assert_all_is_given_back()


@pytest.mark.parametrize(("owner", "how"), [("a", "create"), ("", "resume")])
async def test_a_transcript_that_nobody_is_known_to_own(
    bench: Make, owner: str, how: Literal["create", "resume"]
) -> None:
    """With keys it could be anybody's."""
    name = "0b4e7a0e-5c3a-4b53-8d8e-3a3f0a3f0a3f"
    made = bench([STARTED, done()], transcripts=(name,))
    await made.turn(session_id=name, owner=owner)
    plan = plan_of(made, 0)
    assert plan is not None and (plan.uuid, plan.how) == (name, how)


async def test_who_waits_for_a_busy_session_holds_no_slot(bench: Make) -> None:
    gate = Gate()
    made = bench([gate, STARTED, done()], [STARTED, done("m2")], [STARTED, done()], capacity=2)
    first = asyncio.create_task(made.turn(session_id="s"))
    await gate.reached.wait()
    second = asyncio.create_task(made.turn(session_id="s"))
    await holds(lambda: made.admission.waiting == 1)
    assert repr(made.admission) == "<Admission running=1/2 waiting=1/9>"
    await made.turn()
    gate.opened.set()
    await asyncio.gather(first, second)
    assert plan_of(made, 1) is None
    assert plan_of(made, 2) == SessionPlan(session_uuid("", "s"), "resume", "m1", 0.5)
    made.assert_all_is_given_back()


# Given up


async def test_closing_in_the_middle_gives_everything_back(bench: Make, registry: SessionRegistry) -> None:
    made = bench([STARTED, TextDelta("a"), Gate()], [STARTED, done()])
    run = made.runner.run(request(session_id="s"))
    assert [await anext(run), await anext(run)] == [TurnStarted("claude-x", "created"), TextDelta("a")]
    assert repr(registry).endswith(f"busy=['{session_uuid('', 's')}']>")
    await run.aclose()
    made.assert_all_is_given_back()
    await made.turn(session_id="s")


async def test_a_cancelled_turn_gives_everything_back(bench: Make) -> None:
    gate = Gate()
    made = bench([STARTED, gate])
    task = asyncio.create_task(made.turn(session_id="s"))
    await gate.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    made.assert_all_is_given_back()


async def test_a_turn_cancelled_while_its_session_is_recorded_gives_its_slot_back(
    bench: Make, tmp_path: Path
) -> None:
    made = bench([STARTED, done()])
    # Another writer makes the record wait.
    with contextlib.closing(sqlite3.connect(tmp_path / "sessions.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        task = asyncio.create_task(made.turn(session_id="s"))
        await holds(lambda: made.admission.running == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        other.execute("ROLLBACK")
    made.assert_all_is_given_back()


# Records that can't be used


@pytest.fixture
def spoil(tmp_path: Path) -> Callable[[], None]:
    def drop() -> None:
        with contextlib.closing(sqlite3.connect(tmp_path / "sessions.sqlite3")) as other:
            other.execute("DROP TABLE sessions")

    return drop


UNRECORDED = "The session's record can't be read or written: no such table: sessions."


async def test_a_record_that_can_not_be_read(bench: Make, spoil: Callable[[], None]) -> None:
    """It is tried again, as often as anything else."""
    made = bench(retries=2)
    spoil()
    with pytest.raises(StateFailed) as raised:
        await made.turn(session_id="s")
    assert raised.value.message == UNRECORDED
    assert made.backend.requests == [] and len(made.slept) == 2
    made.assert_all_is_given_back()


async def test_a_record_that_can_be_read_at_the_second_try(
    bench: Make, registry: SessionRegistry, spoil: Callable[[], None], tmp_path: Path
) -> None:
    """Also where the record was found, but its use could not be noted."""
    made = bench([STARTED, done()], [STARTED, done("m2")])
    await made.turn(session_id="s")
    with contextlib.closing(sqlite3.connect(tmp_path / "sessions.sqlite3")) as db:
        db.execute("CREATE TRIGGER stop BEFORE UPDATE ON sessions BEGIN SELECT RAISE(ABORT, 'locked'); END")
        db.commit()

        async def sleep(seconds: float) -> None:
            db.execute("DROP TRIGGER stop")
            db.commit()

        made.runner._sleep = sleep
        end = (await made.turn(session_id="s"))[-1]
    assert isinstance(end, TurnDone) and (end.session, end.retries) == ("resumed", 1)
    made.assert_all_is_given_back()


async def test_a_record_that_can_not_be_begun(bench: Make, spoil: Callable[[], None]) -> None:
    made = bench([Overloaded("x")], retries=1)
    made.while_asleep = spoil
    with pytest.raises(StateFailed) as raised:
        await made.turn(session_id="s")
    assert raised.value.message == UNRECORDED
    assert len(made.backend.requests) == 1
    made.assert_all_is_given_back()


async def test_a_record_that_can_be_begun_at_the_second_try(
    bench: Make, registry: SessionRegistry, spoil: Callable[[], None], tmp_path: Path
) -> None:
    made = bench([Overloaded("x")], [STARTED, done()])
    pauses = itertools.count(1)

    async def repair() -> None:
        other = SessionRegistry(tmp_path)
        await other.open()
        await other.close()

    async def sleep(seconds: float) -> None:
        await repair() if next(pauses) == 2 else spoil()

    made.runner._sleep = sleep
    end = (await made.turn(session_id="s"))[-1]
    assert isinstance(end, TurnDone) and (end.session, end.retries, end.notices) == ("created", 2, ())
    made.assert_all_is_given_back()


@pytest.mark.parametrize("known", [False, True])
async def test_an_answer_that_can_not_be_recorded_is_given_with_a_notice(
    bench: Make, spoil: Callable[[], None], known: bool
) -> None:
    """Of a session that is ours, and of one that only the CLI knows."""
    gate = Gate()
    transcripts = (session_uuid("", "s"),) if known else ()
    made = bench([STARTED, TextDelta("a"), gate, done()], transcripts=transcripts)
    turn = asyncio.create_task(made.turn(session_id="s", notices=("said",)))
    await gate.reached.wait()
    spoil()
    gate.opened.set()
    events = await turn
    state: SessionState = "resumed" if known else "created"
    assert events[:2] == [TurnStarted("claude-x", state, ("said",)), TextDelta("a")]
    end = events[2]
    assert isinstance(end, TurnDone)
    assert (end.session, end.notices) == (state, ("said", UNRECORDED))
    made.assert_all_is_given_back()


# Events


DELTAS = st.builds(
    lambda kind, text: kind(text),
    st.sampled_from([TextDelta, ThinkingDelta, ToolCallDelta]),
    st.text(max_size=3),
)
OTHERS = st.sampled_from([STARTED, ToolCallStarted("c", "f"), done()])


@given(st.lists(DELTAS | OTHERS))
def test_merging_joins_neighbouring_deltas_of_a_kind_and_nothing_else(events: list[TurnEvent]) -> None:
    result = list(merge_deltas(events))

    def pieces(given: list[TurnEvent]) -> list[object]:
        flat: list[object] = []
        for event in given:
            if isinstance(event, TextDelta | ThinkingDelta | ToolCallDelta):
                flat += [(type(event), letter) for letter in event.text]
            else:
                flat.append(event)
        return flat

    assert pieces(result) == pieces(events)
    for one, two in itertools.pairwise(result):
        assert type(one) is not type(two) or not hasattr(one, "text")


def test_prompt_tokens_are_all_that_went_in() -> None:
    assert Usage(1, 20, 300, 4000, 5).prompt_tokens == 321
    assert Message("user", ("a", Image("image/png", "x"), "b")).texts == ("a", "b")
    assert SessionRecord("o", "s", "u", "").turns == 0


# Observers


class Log:
    """A TurnObserver that writes all down."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []
        self.ends: list[TurnEnd] = []

    def started(self, turn: TurnRequest) -> None:
        self.seen.append(("started", turn.id))

    def retried(self, turn: TurnRequest, error: TurnError, delay: float) -> None:
        self.seen.append(("retried", turn.id, type(error), delay))

    def ended(self, turn: TurnRequest, end: TurnEnd) -> None:
        self.seen.append(("ended", turn.id, end.outcome))
        self.ends.append(end)


async def test_observers_see_an_answer_before_its_last_event_is_sent(bench: Make) -> None:
    both = [Log(), Log()]
    made = bench([Overloaded("x")], [STARTED, TextDelta("a"), done()], observers=both)
    async with contextlib.aclosing(made.runner.run(request())) as events:
        assert both[0].seen == []
        async for event in events:
            assert bool(both[0].ends) == isinstance(event, TurnDone)
    assert both[0].seen == both[1].seen
    assert both[0].seen == [
        *(("started", "t"), ("retried", "t", Overloaded, 2.0), ("ended", "t", TurnOutcome.ANSWERED)),
    ]
    (end,) = both[0].ends
    assert (end.retries, end.error) == (1, None) and end.seconds >= 0
    assert end.done is not None and (end.done.usage, end.done.retries) == (Usage(3, 0, 0, 2), 1)


async def test_observers_see_a_failure(bench: Make) -> None:
    log = Log()
    made = bench([Overloaded("x")], [Overloaded("y")], observers=[log], retries=1)
    await made.fails(Overloaded)
    assert [what for what, *_ in log.seen] == ["started", "retried", "ended"]
    (end,) = log.ends
    assert (end.outcome, end.retries, end.done) == (TurnOutcome.FAILED, 1, None)
    assert isinstance(end.error, Overloaded) and end.error.message == "y"


async def test_observers_see_a_conversation_that_is_made_again(bench: Make) -> None:
    log = Log()
    made = bench([SessionLost("x")], [STARTED, done()], transcripts=(session_uuid("", "s"),), observers=[log])
    await made.turn(session_id="s")
    assert log.seen[1] == ("retried", "t", SessionLost, 0.0)
    (end,) = log.ends
    assert (end.outcome, end.retries) == (TurnOutcome.ANSWERED, 1)


async def test_observers_see_records_that_can_not_be_read(bench: Make, spoil: Callable[[], None]) -> None:
    log = Log()
    made = bench(observers=[log], retries=1)
    spoil()
    with pytest.raises(StateFailed):
        await made.turn(session_id="s")
    assert [what for what, *_ in log.seen] == ["started", "retried", "ended"]
    assert log.ends[0].outcome is TurnOutcome.FAILED


@pytest.mark.parametrize("cancelled", [True, False])
async def test_observers_see_who_left(bench: Make, cancelled: bool) -> None:
    log = Log()
    gate = Gate()
    made = bench([STARTED, TextDelta("a"), gate], observers=[log])
    if cancelled:
        task = asyncio.create_task(made.turn())
        await gate.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        async with contextlib.aclosing(made.runner.run(request())) as events:
            await anext(events)
    (end,) = log.ends
    assert (end.outcome, end.retries, end.done, end.error) == (TurnOutcome.LEFT, 0, None, None)


async def test_a_turn_that_is_refused_at_shutdown_never_started(bench: Make) -> None:
    log = Log()
    made = bench(observers=[log])
    made.runner.drain.end()
    with pytest.raises(ShuttingDown):
        await made.turn()
    assert log.seen == []
