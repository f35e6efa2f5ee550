"""Who gets which process: a pool on a scripted table, on a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import structlog

from claude_server.core.errors import CliFailed, NotReady, SessionLost, TurnError
from claude_server.core.model import Message, SessionPlan
from claude_server.engine.processes.argv import Launch
from claude_server.engine.protocol.transcript import Conversation
from claude_server.engine.workers import worker as worker_module
from claude_server.engine.workers.counters import Count, Retired
from claude_server.engine.workers.demand import Demand
from claude_server.engine.workers.state import WorkerConfig, WorkerState
from claude_server.engine.workers.worker import Limits, SharePolicy, Worker
from tests.engine.scripted import ABLE, ScriptedProcess, Stage

Q, A = Message("user", ("Q",)), Message("assistant", ("A",))
SONNET, OPUS = WorkerConfig("sonnet", "S"), WorkerConfig("opus", "O")
PLAIN = Demand(WorkerConfig(), Launch(), "")
SECRET = WorkerConfig(system="secret")
KEYED = replace(ABLE, set_system=False)
BROKEN = NotReady("no CLI")
MIB = 1024 * 1024

Staging = Callable[..., Stage]


@pytest.fixture
def staged() -> Iterator[Staging]:
    stages: list[Stage] = []

    def make(**options: object) -> Stage:
        stages.append(Stage(**options))  # type: ignore[arg-type]
        return stages[-1]

    yield make
    for stage in stages:
        stage.end()


def demand(
    config: WorkerConfig | None = None,
    *,
    owner: str = "",
    custom: str | None = None,
    history: tuple[Message, ...] = (),
) -> Demand:
    return Demand(config or WorkerConfig(), Launch(custom_model=custom), owner, history)


def session(uuid: str, at: str | None = None, config: WorkerConfig = SONNET, owner: str = "") -> Demand:
    plan = SessionPlan(uuid, "create") if at is None else SessionPlan(uuid, "resume", at)
    return Demand(config, Launch(config.model, plan), owner)


def serve(worker: Worker, wanted: Demand, mark: str = "m") -> None:
    """What the engine notes of a turn."""
    worker.turns += 1
    worker.mark = mark
    messages = (*wanted.history, Q, A)
    state = worker.state or WorkerState(custom_model=worker.launch.custom_model)
    worker.state = state.after(wanted.config, messages)


def turn(stage: Stage, wanted: Demand, mark: str = "m") -> Worker:
    """A whole turn, from its lease to its end."""
    worker = stage.leased(wanted)
    serve(worker, wanted, mark)
    stage.release(worker)
    stage.clock.settle()
    return worker


def failure(lease: asyncio.Future[Worker]) -> TurnError:
    error = lease.exception()
    assert isinstance(error, TurnError)
    return error


def warmed(stage: Stage, workers: int) -> list[Worker]:
    """So many idle workers, the one used last at the end."""
    leases = [stage.leased(PLAIN) for _ in range(workers)]
    for worker in leases:
        serve(worker, PLAIN)
        stage.release(worker)
    stage.clock.settle()
    return leases


# Sessions that end


def test_an_idle_session_can_be_ended(staged: Staging) -> None:
    stage = staged(size=1, kept_sessions=4)
    kept = {name: turn(stage, session(name)) for name in ("a", "b")}
    assert stage.pool.kept_sessions() == {"a", "b"}
    stage.pool.end_session("a")
    assert stage.pool.kept_sessions() == {"b"}
    assert stage.pool.counts[Retired.SESSION_ENDED] == 1
    stage.pool.end_session("nobody")
    # The other one is still there for its next turn.
    assert stage.leased(session("b", "m")) is kept["b"]
    # One that serves a turn goes on.
    stage.pool.end_session("b")
    assert stage.pool.kept_sessions() == set()
    assert stage.pool.counts[Retired.SESSION_ENDED] == 1


# A lease


def test_the_first_lease_starts_a_worker(staged: Staging) -> None:
    stage = staged(size=1)
    lease = stage.lease(PLAIN)
    assert not lease.done()
    assert repr(stage.pool) == "<Pool idle=0 suspended=0 busy=0 starting=1 waiting=1>"
    stage.clock.settle()
    worker = lease.result()
    assert repr(stage.pool) == "<Pool idle=0 suspended=0 busy=1 starting=0 waiting=0>"
    assert (worker.turns, worker.state is not None) == (0, True)
    assert stage.pool.figures == {"idle": 0, "waiting at calls": 0, "waited": 1, "started": 1}


def test_an_idle_worker_is_handed_out_at_once(staged: Staging) -> None:
    stage = staged(size=1)
    first = turn(stage, PLAIN)
    lease = stage.lease(PLAIN)
    assert lease.done() and lease.result() is first
    assert stage.pool.counts[Count.REUSED] == 1


def test_a_worker_started_ahead_is_handed_out_at_once(staged: Staging) -> None:
    stage = staged(size=2)
    stage.clock.wait_for(stage.pool.warm_up())
    lease = stage.lease(demand(SONNET))
    assert lease.done()
    assert (stage.pool.counts[Count.FRESH], stage.pool.counts[Count.REUSED]) == (1, 0)


def test_a_started_worker_has_been_greeted(staged: Staging) -> None:
    stage = staged(size=1)
    worker = stage.leased(demand(SONNET))
    assert isinstance(worker.process, ScriptedProcess)
    (line,) = worker.process.written
    assert line["request"] == {"subtype": "initialize", "systemPrompt": ""}
    assert worker.state is not None and worker.state.current == WorkerConfig()


@pytest.mark.parametrize("level", ["keyed", "spawn", "text"])
def test_below_warm_a_worker_is_not_greeted_ahead(staged: Staging, level: str) -> None:
    stage = staged(level=level, size=1)
    worker = stage.leased(Demand(SONNET, Launch("sonnet"), ""))
    assert isinstance(worker.process, ScriptedProcess)
    assert (worker.state, worker.process.written) == (None, [])


def test_the_most_recently_used_worker_is_taken(staged: Staging) -> None:
    stage = staged(size=3)
    one, two, three = warmed(stage, 3)
    assert stage.leased(PLAIN) is three
    assert stage.leased(PLAIN) is two
    assert stage.leased(PLAIN) is one


def test_the_worker_with_the_fewest_changes_is_taken(staged: Staging) -> None:
    """One that holds the conversation, then one with the same need, then one with a system prompt; one that
    never had a system prompt comes last, whenever it was used."""
    stage = staged(size=4)
    holds, same, other, blank = [stage.leased(PLAIN) for _ in range(4)]
    serve(holds, demand(SONNET))
    serve(same, demand(SONNET, history=(A, A)))
    serve(other, demand(OPUS))
    serve(blank, PLAIN)
    for worker in (holds, same, other, blank):
        stage.release(worker)
    wanted = demand(SONNET, history=(Q, A))
    assert [stage.leased(wanted) for _ in range(4)] == [holds, same, other, blank]


def test_a_blank_worker_is_left_for_a_turn_without_system_prompt(staged: Staging) -> None:
    stage = staged(size=2)
    blank, other = stage.leased(PLAIN), stage.leased(PLAIN)
    serve(other, demand(OPUS))
    stage.release(other)
    stage.release(blank)
    assert stage.leased(demand(SONNET)) is other
    assert stage.leased(PLAIN) is blank


def test_a_used_worker_cannot_lose_its_system_prompt(staged: Staging) -> None:
    stage = staged(size=1)
    used = turn(stage, demand(SONNET))
    fresh = stage.leased(PLAIN)
    assert fresh is not used
    assert stage.table.retired == [(used.process, False)]
    assert stage.pool.counts[Retired.OTHER_KIND_WANTED] == 1


# Waiting


def test_a_waiter_gets_the_worker_that_comes_back_first(staged: Staging) -> None:
    stage = staged(size=2, set_paused=True)
    first = stage.lease(PLAIN)
    stage.clock.settle()
    (start,) = stage.table.starting
    stage.finish(start)
    second = stage.lease(PLAIN)
    assert not second.done()
    serve(first.result(), PLAIN)
    stage.release(first.result())
    assert second.result() is first.result()
    # The start that was made for it is a worker ahead now.
    stage.clock.settle()
    stage.finish(stage.table.starting[0])
    assert repr(stage.pool) == "<Pool idle=1 suspended=0 busy=1 starting=0 waiting=0>"


def test_a_waiter_gets_the_worker_that_is_started_first(staged: Staging) -> None:
    stage = staged(size=3, set_paused=True)
    leases = [stage.lease(PLAIN) for _ in range(2)]
    stage.clock.settle()
    stage.finish(stage.table.starting[-1])
    assert [lease.done() for lease in leases] == [True, False]


def test_waiters_are_served_in_their_order(staged: Staging) -> None:
    stage = staged(size=1)
    worker = stage.leased(PLAIN)
    leases = [stage.lease(PLAIN) for _ in range(3)]
    for number in range(3):
        serve(worker, PLAIN)
        stage.release(worker)
        assert [lease.done() for lease in leases] == [n <= number for n in range(3)]
        worker = leases[number].result()


def test_a_waiter_that_nothing_fits_holds_nobody_up(staged: Staging) -> None:
    stage = staged(size=2)
    busy, worker = stage.leased(PLAIN), stage.leased(PLAIN)
    serve(worker, PLAIN)
    unlisted, fits = stage.lease(demand(custom="x")), stage.lease(PLAIN)
    stage.release(worker)
    assert fits.result() is worker
    assert not unlisted.done()
    serve(busy, PLAIN)
    stage.release(busy)
    stage.clock.settle()
    assert unlisted.result().launch == Launch(custom_model="x")


def test_a_waiter_that_gave_up_is_passed_over(staged: Staging) -> None:
    stage = staged(size=1)
    worker = stage.leased(PLAIN)
    gone, next_one = stage.lease(PLAIN), stage.lease(PLAIN)
    gone.cancel()
    stage.release(worker)
    assert next_one.result() is worker
    assert repr(stage.pool) == "<Pool idle=0 suspended=0 busy=1 starting=0 waiting=0>"


def test_a_worker_started_for_one_that_gave_up_goes_to_the_next(staged: Staging) -> None:
    stage = staged(size=1, set_paused=True)
    gone = stage.lease(PLAIN)
    stage.clock.settle()
    gone.cancel()
    next_one = stage.lease(PLAIN)
    stage.clock.settle()
    (start,) = stage.table.starting
    stage.finish(start)
    assert next_one.done() and gone.cancelled()
    assert len(stage.table.asked) == 1


def test_a_worker_started_for_one_that_gave_up_is_kept(staged: Staging) -> None:
    stage = staged(size=1, set_paused=True)
    gone = stage.lease(PLAIN)
    stage.clock.settle()
    gone.cancel()
    stage.finish(stage.table.starting[0])
    assert (stage.pool.idle, len(stage.table.retired)) == (1, 0)
    assert stage.lease(PLAIN).done()


# Long conversations


def long_demand(config: WorkerConfig = SONNET) -> Demand:
    history = (Q, A)
    return Demand(config, Launch(config.model, conversation=Conversation(history)), "", history)


def test_a_long_conversation_gets_a_process_that_has_read_it(staged: Staging) -> None:
    """Not an idle one, which would have to be told; and that process is like any other after its turn."""
    stage = staged(size=3)
    (idle,) = warmed(stage, 1)
    wanted = long_demand()
    reader = stage.leased(wanted)
    assert reader is not idle and stage.table.started[reader.process] is wanted.launch
    # Its first words are the turn's.
    assert reader.state is None and reader.process.written == []  # type: ignore[attr-defined]
    serve(reader, wanted)
    reader.launch = replace(reader.launch, conversation=None)
    stage.release(reader)
    # It holds the conversation, and what comes next needs no other process.
    further = Demand(SONNET, long_demand().launch, "", (Q, A, Q, A))
    assert stage.leased(further) is reader
    serve(reader, further)
    stage.release(reader)
    assert stage.leased(demand(SONNET)) is reader


def test_a_process_that_has_read_for_one_that_gave_up_is_not_kept(staged: Staging) -> None:
    stage = staged(size=2)
    warmed(stage, 1)
    reader = stage.leased(long_demand())
    stage.release(reader)
    assert (reader.process, False) in stage.table.retired
    stage.table.set_paused = True
    gone = stage.lease(long_demand())
    stage.clock.settle()
    gone.cancel()
    (start,) = stage.table.starting
    stage.finish(start)
    assert stage.pool.counts[Retired.NOT_WANTED] == 2


@pytest.mark.parametrize("level", ["warm", "keyed"])
def test_none_is_kept_ahead_with_a_long_conversation(staged: Staging, level: str) -> None:
    stage = staged(size=4, level=level)
    stage.leased(long_demand())
    stage.pass_time(10)
    assert sum(launch.conversation is not None for launch in stage.table.asked) == 1


# How many


@pytest.mark.parametrize("size", [1, 2, 3])
def test_never_more_than_size_without_a_session(staged: Staging, size: int) -> None:
    stage = staged(size=size, set_paused=True)
    leases = [stage.lease(PLAIN) for _ in range(size + 3)]
    for _ in range(size + 3):
        stage.clock.settle()
        assert stage.table.sessionless <= size
        if stage.table.starting:
            stage.finish(stage.table.starting[0])
        worker = next(lease.result() for lease in leases if lease.done())
        leases = [lease for lease in leases if not lease.done() or lease.result() is not worker]
        serve(worker, PLAIN)
        stage.release(worker)
    assert leases == []
    assert len(stage.table.asked) == size


def test_kinds_that_differ_stay_within_size_too(staged: Staging) -> None:
    stage = staged(size=2, set_paused=True)
    waiting = [stage.lease(demand(custom=name)) for name in ("x", "y", "z")]
    served: list[str | None] = []
    while waiting:
        stage.clock.settle()
        assert stage.table.sessionless <= 2
        if stage.table.starting:
            stage.finish(stage.table.starting[0])
        assert stage.table.sessionless <= 2
        for lease in [lease for lease in waiting if lease.done()]:
            waiting.remove(lease)
            worker = lease.result()
            served.append(worker.launch.custom_model)
            serve(worker, demand(custom=worker.launch.custom_model))
            stage.release(worker)
    assert served == ["x", "y", "z"]


def test_a_failed_start_lets_another_kind_go_on(staged: Staging) -> None:
    """Nobody waits for a place that a start has given up; while starts pause, it is told so at once."""
    stage = staged(size=1, set_paused=True)
    first, second = stage.lease(demand(custom="x")), stage.lease(demand(custom="y"))
    stage.clock.settle()
    stage.finish(stage.table.starting[0], BROKEN)
    assert failure(first) is BROKEN
    assert isinstance(failure(second), type(BROKEN))


def test_an_idle_worker_of_another_kind_makes_room(staged: Staging) -> None:
    stage = staged(size=2)
    one, two = warmed(stage, 2)
    stage.leased(demand(custom="x"))
    # The one used longest ago.
    assert stage.table.retired == [(one.process, False)]
    assert stage.pool.counts[Retired.OTHER_KIND_WANTED] == 1
    assert stage.leased(PLAIN) is two


def test_workers_of_sessions_are_counted_apart(staged: Staging) -> None:
    stage = staged(size=1)
    busy = stage.leased(PLAIN)
    held = [stage.leased(session(f"s{n}")) for n in range(3)]
    assert len({busy, *held}) == 4
    assert stage.table.retired == []


def test_one_is_kept_ahead(staged: Staging) -> None:
    stage = staged(size=3)
    stage.clock.wait_for(stage.pool.warm_up())
    for ahead in (1, 1, 0):
        assert stage.lease(PLAIN).done()
        stage.clock.settle()
        assert stage.pool.idle == ahead
    assert len(stage.table.started) == 3


def test_after_a_rush_the_timer_starts_one_ahead(staged: Staging) -> None:
    stage = staged(size=3)
    stage.leased(PLAIN)
    stage.leased(PLAIN)
    stage.pass_time(5)
    assert stage.pool.idle == 1


def test_none_is_kept_ahead_for_a_session(staged: Staging) -> None:
    stage = staged(size=3)
    stage.leased(session("s"))
    assert [launch.session is None for launch in stage.table.asked] == [False]


def test_below_warm_the_one_ahead_is_like_the_last_one(staged: Staging) -> None:
    stage = staged(level="spawn", size=2)
    wanted = Demand(SONNET, Launch("sonnet", effort="high"), "")
    stage.leased(wanted)
    stage.pass_time(5)
    assert stage.table.asked == [wanted.launch, wanted.launch]
    assert stage.lease(wanted).done()


def test_a_process_for_one_text_is_not_started_ahead(staged: Staging) -> None:
    """Without its input it ends by itself after three seconds."""
    stage = staged(level="plain", size=2)
    wanted = Demand(SONNET, Launch("sonnet", plain="S"), "")
    worker = stage.leased(wanted)
    worker.turns += 1
    stage.release(worker)
    stage.pass_time(60)
    assert stage.table.asked.count(wanted.launch) == 1


# Whose


@pytest.mark.parametrize(("share", "shared"), [("key", False), ("any", True), ("never", False)])
def test_a_worker_of_another_owner(staged: Staging, share: SharePolicy, shared: bool) -> None:
    stage = staged(size=1, share=share)
    first = turn(stage, demand(SONNET, owner="a"))
    other = stage.leased(demand(SONNET, owner="b"))
    assert (other is first) is shared


@pytest.mark.parametrize(("share", "shared"), [("key", True), ("any", True), ("never", False)])
def test_a_worker_of_the_same_owner(staged: Staging, share: SharePolicy, shared: bool) -> None:
    stage = staged(size=1, share=share)
    first = turn(stage, demand(SONNET, owner="a"))
    assert (stage.leased(demand(SONNET, owner="a")) is first) is shared


def test_requests_without_a_key_are_one_owner(staged: Staging) -> None:
    stage = staged(size=1)
    first = turn(stage, demand(SONNET))
    assert stage.leased(demand(SONNET)) is first


def test_a_worker_that_was_never_used_belongs_to_nobody(staged: Staging) -> None:
    stage = staged(size=1)
    worker = stage.leased(demand(owner="a"))
    # Its owner left before anything was said.
    stage.release(worker)
    assert stage.lease(demand(owner="b")).result() is worker


def test_never_shared_is_one_turn(staged: Staging) -> None:
    stage = staged(size=1, share="never")
    worker = turn(stage, PLAIN)
    assert (worker.process, False) in stage.table.retired
    assert stage.pool.counts[Retired.NOT_SHARED] == 1


# Until when


def test_so_many_turns(staged: Staging) -> None:
    stage = staged(size=1, limits=Limits(turns=3))
    workers = [turn(stage, PLAIN) for _ in range(4)]
    assert len(set(workers[:3])) == 1
    assert workers[3] is not workers[0]
    assert stage.table.retired == [(workers[0].process, False)]
    assert stage.pool.counts[Retired.TURNS] == 1


def test_so_old_after_a_turn(staged: Staging) -> None:
    stage = staged(size=1, limits=Limits(age=100))
    worker = stage.leased(PLAIN)
    stage.pass_time(99)
    stage.release(worker)
    assert stage.lease(PLAIN).result() is worker
    stage.pass_time(1)
    stage.release(worker)
    assert (stage.table.retired, stage.pool.counts[Retired.AGE]) == ([(worker.process, False)], 1)


def test_so_old_while_idle(staged: Staging) -> None:
    stage = staged(size=1, limits=Limits(age=100, idle=1000))
    worker = turn(stage, PLAIN)
    stage.pass_time(95)
    assert stage.table.retired == []
    stage.pass_time(10)
    assert stage.table.retired == [(worker.process, False)]
    # Another one is there, ahead of need.
    assert stage.pool.idle == 1


def test_so_much_memory(staged: Staging, monkeypatch: pytest.MonkeyPatch) -> None:
    used = {"bytes": 100 * MIB}
    monkeypatch.setattr(worker_module, "_memory", lambda pid: used["bytes"])
    stage = staged(size=1, limits=Limits(memory=100 * MIB))
    first = turn(stage, PLAIN)
    used["bytes"] += 1
    # It is looked at after each tenth turn.
    for number in range(2, 10):
        assert turn(stage, PLAIN) is first, number
    assert stage.table.retired == []
    assert turn(stage, PLAIN) is first
    assert stage.table.retired == [(first.process, False)]
    assert stage.pool.counts[Retired.MEMORY] == 1


def test_one_that_is_not_clean_is_killed_now(staged: Staging) -> None:
    stage = staged(size=1)
    worker = stage.leased(PLAIN)
    stage.release(worker, clean=False)
    assert stage.table.retired == [(worker.process, True)]
    assert stage.pool.counts[Retired.NOT_CLEAN] == 1


def test_a_waiter_is_started_for_when_the_worker_it_waits_for_is_killed(staged: Staging) -> None:
    stage = staged(size=1)
    worker = stage.leased(PLAIN)
    lease = stage.lease(PLAIN)
    stage.release(worker, clean=False)
    stage.clock.settle()
    assert lease.result() is not worker


@pytest.mark.parametrize("level", ["spawn", "text", "plain"])
def test_a_process_a_turn(staged: Staging, level: str) -> None:
    stage = staged(level=level, size=1)
    wanted = Demand(SONNET, Launch("sonnet", plain="S" if level == "plain" else None), "")
    worker = stage.leased(wanted)
    worker.turns += 1
    stage.release(worker)
    assert (worker.process, False) in stage.table.retired
    assert stage.pool.counts[Retired.ONE_TURN] == 1


@pytest.mark.parametrize("level", ["spawn", "text"])
def test_a_process_a_turn_that_was_not_used_is_kept(staged: Staging, level: str) -> None:
    stage = staged(level=level, size=1)
    wanted = Demand(SONNET, Launch("sonnet"), "")
    worker = stage.leased(wanted)
    stage.release(worker)
    assert stage.lease(wanted).result() is worker
    stage.release(worker)
    other = stage.leased(Demand(SONNET, Launch("opus"), ""))
    assert other is not worker


def test_kept_by_model_and_system_prompt(staged: Staging) -> None:
    stage = staged(level="keyed", abilities=KEYED, size=2)
    wanted = Demand(SONNET, Launch("sonnet"), "")
    first = turn(stage, wanted)
    assert stage.leased(wanted) is first
    stage.release(first)
    assert stage.leased(Demand(WorkerConfig("sonnet", "T"), Launch("sonnet"), "")) is not first


def test_idle_ones_that_served_go_and_a_blank_one_stays(staged: Staging) -> None:
    stage = staged(size=3, limits=Limits(idle=50))
    workers = warmed(stage, 3)
    stage.pass_time(45)
    assert stage.pool.idle == 3
    stage.pass_time(10)
    # The last one after its successor is there.
    assert [process for process, _ in stage.table.retired] == [worker.process for worker in workers]
    assert stage.pool.counts[Retired.IDLE] == 3
    stage.pass_time(600)
    assert len(stage.table.started) == 4
    assert stage.lease(PLAIN).result().turns == 0


def burst(stage: Stage, number: int) -> list[bool]:
    """Is there a worker at once, for each of so many turns?"""
    leases = [stage.lease(PLAIN) for _ in range(number)]
    found = [lease.done() for lease in leases]
    stage.clock.settle()
    for lease in leases:
        serve(lease.result(), PLAIN)
        stage.release(lease.result())
    return found


def test_so_many_are_kept_warm(staged: Staging) -> None:
    """Started one after the other; whoever waits for the first one waits for no other."""
    stage = staged(size=8, warm=4, set_paused=True)
    ready = stage.clock.call(lambda: asyncio.ensure_future(stage.pool.warm_up()))
    stage.clock.settle()
    for number in range(4):
        assert (len(stage.table.starting), stage.pool.idle, ready.done()) == (1, number, number > 0)
        stage.finish(stage.table.starting[0])
    assert (len(stage.table.starting), stage.pool.idle) == (0, 4)
    assert burst(stage, 4) == [True] * 4


@pytest.mark.parametrize("used", [False, True])
def test_a_burst_after_an_idle_hour(staged: Staging, used: bool) -> None:
    """Their age goes by meanwhile, and their time to idle; at no moment there are fewer."""
    stage = staged(size=8, warm=4)
    stage.clock.wait_for(stage.pool.warm_up())
    stage.clock.settle()
    if used:
        burst(stage, 6)
    fewest = stage.pool.idle
    for _ in range(4200 // 5):
        stage.pass_time(5)
        fewest = min(fewest, stage.pool.idle)
    assert fewest == 4 == stage.pool.idle
    assert stage.pool.counts[Retired.AGE] >= 4
    # With nobody's conversation in them.
    assert all(worker.turns == 0 for worker in stage.pool._shared.idle)
    assert burst(stage, 4) == [True] * 4


def test_one_that_nobody_waits_for_is_exercised(staged: Staging) -> None:
    """What it was told meanwhile is emptied before its first turn."""
    stage = staged(size=2)
    waited_for = stage.leased(PLAIN)
    assert isinstance(waited_for.process, ScriptedProcess)
    assert [line["type"] for line in waited_for.process.written] == ["control_request"]
    assert waited_for.state is not None and waited_for.state.messages == ()
    ahead = stage.lease(PLAIN).result()
    assert isinstance(ahead.process, ScriptedProcess) and ahead.blank and not ahead.turns
    said = [line["type"] for line in ahead.process.written]
    assert said == ["control_request", "user", *["assistant", "user"] * 3]
    assert all(not line["shouldQuery"] for line in ahead.process.written if line["type"] == "user")
    assert ahead.state is not None and ahead.state.messages is None


def test_warm_ones_wait_for_those_that_turns_wait_for(staged: Staging) -> None:
    stage = staged(size=8, warm=4, set_paused=True)
    first, other = stage.lease(PLAIN), stage.lease(demand(custom="x"))
    stage.clock.settle()
    assert [start.launch for start in stage.table.starting] == [PLAIN.launch, Launch(custom_model="x")]
    stage.finish(stage.table.starting[0])
    assert first.done() and len(stage.table.starting) == 1
    stage.finish(stage.table.starting[0])
    # Both are served: now the next one is started.
    assert other.done() and len(stage.table.starting) == 1


def test_no_warm_ones(staged: Staging) -> None:
    """A process is started when a turn wants it, and ends when it idled."""
    stage = staged(size=2, warm=0, limits=Limits(idle=50))
    stage.clock.wait_for(stage.pool.warm_up())
    assert stage.pool.figures == {"idle": 0, "waiting at calls": 0}
    turn(stage, PLAIN)
    stage.pass_time(600)
    assert (stage.pool.idle, len(stage.table.started)) == (0, 1)


def test_a_worker_that_is_used_is_not_idle(staged: Staging) -> None:
    stage = staged(size=2, limits=Limits(idle=50))
    one, two = warmed(stage, 2)
    for _ in range(5):
        stage.pass_time(30)
        held = [stage.leased(PLAIN), stage.leased(PLAIN)]
        assert set(held) == {one, two}
        for worker in held:
            stage.release(worker)
    assert stage.table.retired == []


def test_an_idle_session_is_let_go_of(staged: Staging) -> None:
    stage = staged(size=1, limits=Limits(idle=50))
    worker = turn(stage, session("s"))
    stage.pass_time(60)
    assert stage.table.retired == [(worker.process, False)]


def test_an_idle_worker_whose_process_ends_is_gone(staged: Staging) -> None:
    stage = staged(size=1)
    worker = turn(stage, PLAIN)
    assert isinstance(worker.process, ScriptedProcess)
    worker.process.exit()
    assert (stage.pool.idle, stage.pool.counts[Retired.ENDED]) == (0, 1)
    assert stage.leased(PLAIN) is not worker


def test_a_worker_whose_process_ended_in_its_turn_is_not_kept(staged: Staging) -> None:
    stage = staged(size=1)
    worker = stage.leased(PLAIN)
    assert isinstance(worker.process, ScriptedProcess)
    worker.process.listener = None
    worker.process.exit()
    serve(worker, PLAIN)
    stage.release(worker)
    assert stage.table.retired == [(worker.process, False)]
    assert stage.pool.counts[Retired.ENDED] == 1


# Sessions


def test_a_session_goes_on_in_its_process(staged: Staging) -> None:
    stage = staged()
    first = turn(stage, session("s"), "m1")
    lease = stage.lease(session("s", "m1"))
    assert lease.done() and lease.result() is first


def test_what_can_be_set_later_does_not_hinder_a_session(staged: Staging) -> None:
    stage = staged()
    first = turn(stage, session("s"), "m1")
    config = replace(SONNET, effort="high", max_output_tokens=5, thinking=False)
    assert stage.leased(session("s", "m1", config)) is first


@pytest.mark.parametrize(
    "wanted",
    [
        session("s", "m0"),
        session("s", None),
        Demand(SONNET, Launch("sonnet", SessionPlan("s", "resume")), ""),
        session("s", "m1", WorkerConfig("opus", "S")),
        session("s", "m1", WorkerConfig("sonnet", "T")),
    ],
    ids=["another mark", "anew", "no mark", "another model", "another prompt"],
)
def test_a_session_that_stands_otherwise_gets_a_new_process(staged: Staging, wanted: Demand) -> None:
    stage = staged()
    first = turn(stage, session("s"), "m1")
    lease = stage.lease(wanted)
    # It is on its way out before the new one is started: two on one transcript lose turns.
    assert stage.table.retired == [(first.process, False)]
    assert stage.pool.counts[Retired.SESSION_MOVED_ON] == 1
    stage.clock.settle()
    assert lease.result().launch == wanted.launch


def test_a_session_of_another_owner(staged: Staging) -> None:
    stage = staged()
    first = turn(stage, session("s", owner="a"), "m1")
    assert stage.leased(session("s", "m1", owner="b")) is not first
    assert (first.process, False) in stage.table.retired


def test_sessions_are_not_mixed_up(staged: Staging) -> None:
    stage = staged()
    one, two = turn(stage, session("s1"), "m"), turn(stage, session("s2"), "m")
    assert stage.leased(session("s1", "m")) is one
    assert stage.leased(session("s2", "m")) is two


def test_a_sessions_worker_serves_nothing_else(staged: Staging) -> None:
    stage = staged(size=2)
    kept = turn(stage, session("s"), "m")
    assert stage.leased(demand(SONNET)) is not kept
    assert stage.leased(session("t", "m")) is not kept
    assert stage.table.retired == []


def test_a_sessions_worker_is_not_greeted_ahead(staged: Staging) -> None:
    """Its system prompt comes with its first turn."""
    stage = staged()
    worker = stage.leased(session("s"))
    assert isinstance(worker.process, ScriptedProcess)
    assert (worker.state, worker.process.written) == (None, [])


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_so_many_sessions_are_kept(staged: Staging, kept: int) -> None:
    stage = staged(kept_sessions=kept)
    workers = [turn(stage, session(f"s{n}")) for n in range(3)]
    gone = [worker.process for worker in workers[: 3 - kept]]
    assert [process for process, _ in stage.table.retired] == gone
    assert stage.pool.counts[Retired.SESSION_CAP] == 3 - kept
    assert stage.pool.idle == kept


def test_a_session_that_nobody_waits_for_any_more_counts_too(staged: Staging) -> None:
    stage = staged(kept_sessions=0, set_paused=True)
    lease = stage.lease(session("s"))
    stage.clock.settle()
    lease.cancel()
    stage.finish(stage.table.starting[0])
    assert stage.pool.idle == 0
    assert stage.table.live == []


def test_the_cap_of_sessions_spares_other_workers(staged: Staging) -> None:
    stage = staged(kept_sessions=0)
    plain = turn(stage, PLAIN)
    turn(stage, session("s"))
    assert stage.lease(PLAIN).result() is plain


def test_sessions_that_have_ended_leave_nothing(staged: Staging) -> None:
    stage = staged(kept_sessions=0)
    for number in range(50):
        turn(stage, session(f"s{number}"))
    assert len(stage.pool._sessions._starting) == 0


# Starts that fail


def test_a_failed_start_is_told_to_the_waiter(staged: Staging) -> None:
    stage = staged(size=1)
    stage.table.problem = BROKEN
    lease = stage.lease(PLAIN)
    stage.clock.settle()
    assert failure(lease) is BROKEN
    assert stage.pool.broken == "no CLI"
    assert stage.pool.counts[Count.FAILED_STARTS] == 1
    assert repr(stage.pool) == "<Pool idle=0 suspended=0 busy=0 starting=0 waiting=0>"


def test_a_session_that_is_lost_is_no_trouble_of_the_cli(staged: Staging) -> None:
    stage = staged(size=1, set_paused=True)
    lost, other = stage.lease(session("s", "m")), stage.lease(session("t", "m"))
    stage.clock.settle()
    start = next(s for s in stage.table.starting if s.launch.session == SessionPlan("s", "resume", "m"))
    error = SessionLost("gone")
    stage.finish(start, error)
    assert failure(lost) is error
    assert not other.done()
    assert stage.pool.broken is None
    assert stage.pool.counts[Count.FAILED_STARTS] == 0
    # No pause: the next one is started at once.
    again = stage.lease(session("s"))
    stage.clock.settle()
    for start in tuple(stage.table.starting):
        stage.finish(start)
    assert again.result() is not other.result()


def test_a_start_that_fails_in_an_unforeseen_way(staged: Staging) -> None:
    stage = staged(size=1)

    async def start(launch: Launch) -> ScriptedProcess:
        raise ZeroDivisionError("made up")

    stage.table.start = start  # type: ignore[method-assign]
    lease = stage.lease(PLAIN)
    stage.clock.settle()
    error = failure(lease)
    assert type(error) is CliFailed and "ZeroDivisionError('made up')" in error.message
    assert stage.pool.broken == error.message
    assert repr(stage.pool) == "<Pool idle=0 suspended=0 busy=0 starting=0 waiting=0>"


def test_during_the_pause_a_lease_fails_at_once(staged: Staging) -> None:
    stage = staged(size=1)
    stage.table.problem = BROKEN
    stage.clock.settle()
    first = stage.lease(PLAIN)
    stage.clock.settle()
    assert failure(first) is BROKEN
    stage.clock.now += 0.2
    error = failure(stage.lease(PLAIN))
    assert error.retry_after == pytest.approx(0.3)
    # Of the kind that the start failed with: a CLI that is missing is not asked for again.
    assert type(error) is type(BROKEN)
    assert error.message.startswith("no CLI")
    assert len(stage.table.asked) == 1


def test_the_pause_doubles_to_half_a_minute(staged: Staging) -> None:
    stage = staged(size=1)
    stage.table.problem = BROKEN
    pauses = []
    for _ in range(9):
        failed = stage.lease(PLAIN)
        stage.clock.settle()
        assert failure(failed) is BROKEN
        refused = failure(stage.lease(PLAIN)).retry_after
        assert refused is not None
        pauses.append(refused)
        # Without the pool's timer, which would start one by itself.
        stage.clock.now += refused
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_a_start_that_succeeds_ends_the_trouble(staged: Staging) -> None:
    stage = staged(size=1)
    stage.table.problem = BROKEN
    failed = stage.lease(PLAIN)
    stage.clock.settle()
    assert failure(failed) is BROKEN
    stage.table.problem = None
    stage.clock.now += 0.5
    worker = stage.leased(PLAIN)
    assert stage.pool.broken is None
    stage.release(worker, clean=False)
    stage.table.problem = BROKEN
    stage.clock.settle()
    again = stage.lease(PLAIN)
    stage.clock.settle()
    assert failure(again) is BROKEN
    # The pause is the first one again.
    assert failure(stage.lease(PLAIN)).retry_after == 0.5


def test_a_start_that_succeeds_ends_the_pause(staged: Staging) -> None:
    stage = staged(size=3, set_paused=True)
    leases = [stage.lease(PLAIN) for _ in range(2)]
    stage.clock.settle()
    one, two = stage.table.starting
    stage.finish(one, BROKEN)
    stage.finish(two)
    assert failure(leases[0]) is BROKEN
    assert leases[1].done()
    stage.table.set_paused = False
    # One more was begun, to be ahead of need again.
    stage.clock.settle()
    for ahead in tuple(stage.table.starting):
        stage.finish(ahead)
    assert stage.leased(PLAIN) is not leases[1].result()


def test_a_failed_start_hits_one_waiter_of_its_kind(staged: Staging) -> None:
    stage = staged(size=4, set_paused=True)
    leases = [stage.lease(demand(custom=name)) for name in ("x", "y", "y")]
    stage.clock.settle()
    stage.finish(next(s for s in stage.table.starting if s.launch.custom_model == "y"), BROKEN)
    assert [lease.done() for lease in leases] == [False, True, False]
    assert failure(leases[1]) is BROKEN


def test_during_the_pause_idle_workers_serve_and_stay(staged: Staging) -> None:
    stage = staged(size=1, kept_sessions=1)
    kept = turn(stage, PLAIN)
    stage.table.problem = BROKEN
    failed = stage.lease(session("s"))
    stage.clock.settle()
    assert failure(failed) is BROKEN
    # It would have to go for one that can't be started.
    refused = stage.lease(demand(custom="x"))
    assert failure(refused).retry_after == 0.5
    assert stage.table.retired == []
    assert stage.lease(PLAIN).result() is kept


def test_the_timer_tries_again(staged: Staging) -> None:
    stage = staged(size=1)
    stage.table.problem = BROKEN
    stage.clock.wait_for(stage.pool.warm_up())
    assert stage.pool.broken == "no CLI"
    stage.table.problem = None
    stage.pass_time(5)
    assert repr(stage.pool) == "<Pool idle=1 suspended=0 busy=0 starting=0 waiting=0>"
    assert stage.pool.counts == {Count.FAILED_STARTS: 1, Count.STARTED: 1}


@pytest.mark.parametrize(
    ("greeting", "message"),
    [("error", "refused a control message: made up"), ("malformed", "makes no sense")],
)
def test_a_greeting_that_goes_wrong_is_a_failed_start(staged: Staging, greeting: str, message: str) -> None:
    stage = staged(size=1, greeting=greeting)
    lease = stage.lease(PLAIN)
    stage.clock.settle()
    error = failure(lease)
    assert type(error) is CliFailed and message in error.message
    assert [now for _, now in stage.table.retired] == [True]
    assert stage.pool.counts[Count.FAILED_STARTS] == 1


def test_a_process_that_ends_in_its_greeting_is_a_failed_start(staged: Staging) -> None:
    stage = staged(size=1, greeting="silence")
    lease = stage.lease(PLAIN)
    stage.clock.settle()
    (process,) = stage.table.started
    assert isinstance(process, ScriptedProcess)
    process.exit(1, "error: it hurts\n")
    stage.clock.settle()
    assert "It said: error: it hurts" in failure(lease).message
    assert stage.table.retired == [(process, True)]


def test_a_process_that_says_nothing_is_a_failed_start(staged: Staging) -> None:
    stage = staged(size=1, greeting="silence")
    lease = stage.lease(PLAIN)
    stage.clock.settle()
    stage.pass_time(25)
    assert not lease.done()
    stage.pass_time(10)
    assert "within 30 s" in failure(lease).message


def dying(stage: Stage) -> None:
    """Each process of this table ends as soon as it is there."""
    start = stage.table.start

    async def start_and_end(launch: Launch) -> ScriptedProcess:
        process = await start(launch)
        process.exit(1, "No conversation found\n")
        return process

    stage.table.start = start_and_end  # type: ignore[method-assign]


def test_a_process_that_ended_before_its_turn_goes_to_who_waits(staged: Staging) -> None:
    """Only there its reason can be told."""
    stage = staged()
    dying(stage)
    worker = stage.leased(session("s", "m"))
    assert worker.process.ended


def test_a_process_that_ended_and_that_nobody_waits_for_is_not_kept(staged: Staging) -> None:
    stage = staged(level="spawn", size=1)
    dying(stage)
    stage.lease(PLAIN).cancel()
    stage.clock.settle()
    assert (stage.pool.idle, stage.table.live) == (0, [])
    assert stage.pool.counts[Retired.ENDED] == 1


# Warming up, closing


def test_warming_up_waits_for_the_first_worker(staged: Staging) -> None:
    stage = staged(size=2)
    stage.clock.wait_for(stage.pool.warm_up())
    assert repr(stage.pool) == "<Pool idle=1 suspended=0 busy=0 starting=0 waiting=0>"
    assert stage.table.asked == [Launch()]


def test_closing_lets_go_of_idle_workers(staged: Staging) -> None:
    stage = staged(size=2)
    one, two = warmed(stage, 2)
    stage.close()
    assert [process for process, _ in stage.table.retired] == [one.process, two.process]
    assert stage.pool.counts[Retired.CLOSED] == 2
    # The timer is gone with it.
    stage.pass_time(60)
    assert len(stage.table.asked) == 2


def test_closing_stops_starts(staged: Staging) -> None:
    stage = staged(size=1, set_paused=True)
    stage.lease(PLAIN)
    stage.clock.settle()
    stage.close()
    assert stage.table.starting == []
    assert stage.table.live == []


def test_closing_stops_a_greeting(staged: Staging) -> None:
    stage = staged(size=1, greeting="silence")
    stage.lease(PLAIN)
    stage.clock.settle()
    stage.close()
    (process,) = stage.table.started
    assert stage.table.retired == [(process, True)]


def test_closing_tells_who_waits(staged: Staging) -> None:
    """A future that is cancelled means that the waiter gave up: this one would wait for ever."""
    stage = staged(size=1)
    stage.leased(PLAIN)
    lease, gone = stage.lease(PLAIN), stage.lease(PLAIN)
    gone.cancel()
    stage.close()
    assert isinstance(failure(lease), CliFailed)


def test_a_worker_that_comes_back_after_the_close_is_let_go_of(staged: Staging) -> None:
    stage = staged(size=1)
    worker = stage.leased(PLAIN)
    stage.close()
    assert stage.table.retired == []
    stage.release(worker)
    assert stage.table.retired == [(worker.process, False)]


def test_a_lease_after_the_close_starts_nothing(staged: Staging) -> None:
    stage = staged(size=1)
    stage.close()
    assert isinstance(failure(stage.lease(PLAIN)), CliFailed)
    stage.clock.settle()
    assert stage.table.asked == []


# What the log tells


def test_each_transition_is_one_line(staged: Staging) -> None:
    """And none says what a turn is about."""
    stage = staged(size=1, limits=Limits(turns=2))
    with structlog.testing.capture_logs() as logs:
        worker = turn(stage, demand(SECRET))
        turn(stage, demand(SECRET))
    lines = (
        *("a turn waits for a worker", "a worker is being started", "a worker has been started"),
        *("a worker is leased", "a worker is idle again", "a worker is leased", "a worker is retired"),
    )
    assert tuple(entry["event"] for entry in logs) == lines
    assert {entry["log_level"] for entry in logs} == {"debug"}
    (retired,) = [entry for entry in logs if entry["event"] == "a worker is retired"]
    assert (retired["worker"], retired["reason"]) == (worker.process.pid, "turns")
    assert "secret" not in str(logs)


def test_a_waiter_may_refuse(staged: Staging) -> None:
    stage = staged(size=1)
    worker = stage.leased(PLAIN)
    gone, stays = stage.lease(PLAIN), stage.lease(PLAIN)
    gone.cancel()
    stage.release(worker)
    assert stays.result() is worker
    assert repr(stage.pool) == "<Pool idle=0 suspended=0 busy=1 starting=0 waiting=0>"
