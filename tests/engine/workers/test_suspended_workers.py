"""Workers that wait at calls, in a pool: who goes on in which, how many there are, and for how long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from claude_server.core.model import Message, SessionPlan, Tool, ToolResult, ToolUse
from claude_server.engine.processes.argv import Launch
from claude_server.engine.protocol.waiting import Leave
from claude_server.engine.workers.counters import Count, Fallback, Retired
from claude_server.engine.workers.demand import Demand
from claude_server.engine.workers.state import WorkerConfig, WorkerState
from claude_server.engine.workers.suspended import Suspended
from claude_server.engine.workers.worker import Worker
from tests.engine.scripted import ABLE, ScriptedProcess, Stage

WAITS = replace(ABLE, tools=True, tools_in_body=True, waits=True, keeps_thinking=True, large_results=True)
CONFIG = WorkerConfig("sonnet", "S", tools=(Tool("look", "", "{}"),))
Q = Message("user", ("Q",))
Staging = Callable[..., Stage]


@pytest.fixture
def staged() -> Iterator[Staging]:
    stages: list[Stage] = []

    def make(**options: object) -> Stage:
        chosen = {"abilities": WAITS, "suspended": 2, "size": 4, **options}
        stages.append(Stage(**chosen))  # type: ignore[arg-type]
        return stages[-1]

    yield make
    for stage in stages:
        stage.end()


def asks(owner: str = "", plan: SessionPlan | None = None) -> Demand:
    return Demand(CONFIG, Launch(session=plan), owner, (), Q)


def brings(name: str, owner: str = "", plan: SessionPlan | None = None, text: str = "Q") -> Demand:
    """The results of the call that suspend() leaves open."""
    call = Message("assistant", (ToolUse(name, "look", {}),))
    history = (Message("user", (text,)), call) if plan is None else ()
    results = Message("user", (ToolResult(name, ("sun",)),))
    return Demand(CONFIG, Launch(session=plan), owner, history, results)


def suspend(stage: Stage, name: str, wanted: Demand | None = None) -> Worker:
    """A turn that ends in a call of this name."""
    wanted = wanted or asks()
    worker = stage.leased(wanted)
    wait_at(worker, name, wanted)
    stage.release(worker)
    stage.clock.settle()
    return worker


def wait_at(worker: Worker, name: str, wanted: Demand) -> None:
    """What a turn leaves in a worker; its beginning took what the worker was leased with."""
    worker.turns += 1
    worker.mark = f"mark of {name}"
    worker.results = ()
    worker.state = (worker.state or WorkerState()).after(wanted.config, None)
    said = None if wanted.session else (*wanted.history, wanted.question)
    answer = Message("assistant", (ToolUse(name, "look", {}),))
    worker.suspended = Suspended(wanted.config, said, answer, Leave("p", name, {}), longest=100)


def figures(stage: Stage) -> dict[str, int]:
    return {
        name: number
        for name, number in stage.pool.figures.items()
        if "resumed" in name or "waiting" in name or name == "suspended"
    }


def test_a_turn_goes_on_where_it_waits(staged: Staging) -> None:
    stage = staged()
    worker = suspend(stage, "one")
    other = suspend(stage, "two")
    assert figures(stage) == {"waiting at calls": 2, "suspended": 2}
    assert stage.leased(brings("one")) is worker
    assert worker.results == (ToolResult("one", ("sun",)),)
    assert stage.leased(brings("two")) is other
    assert figures(stage) == {"waiting at calls": 0, "suspended": 2, "resumed": 2}
    for held in (worker, other):
        held.suspended, held.results = None, ()
        stage.release(held)
    assert stage.pool.idle >= 2


def test_round_after_round(staged: Staging) -> None:
    stage = staged()
    worker = suspend(stage, "c0")
    for number in range(40):
        wanted = brings(f"c{number}")
        assert stage.leased(wanted) is worker
        said = Message("user", ("Q",))
        wait_at(worker, f"c{number + 1}", replace(asks(), question=said))
        stage.release(worker)
    assert stage.pool.counts[Count.RESUMED] == 40
    # Two processes in all: this one, and the spare.
    assert len(stage.table.started) == 2


def test_a_worker_that_waits_serves_nobody_else(staged: Staging) -> None:
    stage = staged()
    worker = suspend(stage, "one")
    assert stage.leased(asks()) is not worker
    assert stage.leased(brings("two")) is not worker
    assert stage.pool.counts[Fallback.UNKNOWN] == 1


def test_another_keys_results_dont_go_on_in_it(staged: Staging) -> None:
    """Nor do they end it: who guesses an id must not be able to."""
    stage = staged(share="any")
    worker = suspend(stage, "one", asks("alice"))
    assert stage.leased(brings("one", "bob")) is not worker
    assert stage.pool.counts[Fallback.OTHER_OWNER] == 1
    assert stage.leased(brings("one", "alice")) is worker


def test_who_goes_on_another_way_ends_it(staged: Staging) -> None:
    stage = staged()
    worker = suspend(stage, "one")
    assert stage.leased(brings("one", text="another question")) is not worker
    assert stage.pool.counts[Fallback.HISTORY] == stage.pool.counts[Retired.OTHERWISE_CONTINUED] == 1
    assert (worker.process, True) in stage.table.retired
    assert stage.leased(brings("one")) is not worker
    assert stage.pool.counts[Fallback.EVICTED] == 1


def test_nobody_goes_on_twice(staged: Staging) -> None:
    stage = staged()
    worker = suspend(stage, "one")
    assert stage.leased(brings("one")) is worker
    assert stage.leased(brings("one")) is not worker
    assert stage.pool.counts[Fallback.USED] == 1


def test_the_one_that_waits_longest_goes_first(staged: Staging) -> None:
    stage = staged(suspended=2, size=6)
    first, second, third = (suspend(stage, name) for name in ("one", "two", "three"))
    assert stage.pool.counts[Retired.SUSPENDED_CAP] == 1
    assert (first.process, True) in stage.table.retired
    assert stage.leased(brings("one")) is not first
    assert stage.pool.counts[Fallback.EVICTED] == 1
    # Going on makes a worker the latest again.
    assert stage.leased(brings("two")) is second
    wait_at(second, "two again", asks())
    stage.release(second)
    suspend(stage, "four")
    assert (third.process, True) in stage.table.retired and (second.process, True) not in stage.table.retired


def test_it_waits_no_longer_than_it_may(staged: Staging) -> None:
    stage = staged(suspended_idle=60.0)
    worker = suspend(stage, "one")
    stage.pass_time(50.0)
    assert figures(stage)["waiting at calls"] == 1
    stage.pass_time(20.0)
    assert figures(stage)["waiting at calls"] == 0
    assert (worker.process, True) in stage.table.retired
    stage.leased(brings("one"))
    assert stage.pool.counts[Fallback.TOO_LATE] == 1


def test_a_turn_that_finds_no_worker_takes_its_place(staged: Staging) -> None:
    stage = staged(size=2, suspended=2)
    first, second = suspend(stage, "one"), suspend(stage, "two")
    assert stage.pool.idle == 0
    worker = stage.leased(asks())
    assert worker not in (first, second)
    assert (first.process, True) in stage.table.retired
    assert stage.pool.counts[Retired.PLACE_WANTED] == 1
    assert stage.leased(brings("two")) is second


def test_waiting_ones_count_as_processes(staged: Staging) -> None:
    stage = staged(size=2, suspended=2)
    suspend(stage, "one"), suspend(stage, "two")
    stage.pass_time(30.0)
    assert stage.table.sessionless == 2


def test_one_that_dies_is_gone(staged: Staging) -> None:
    stage = staged()
    worker = suspend(stage, "one")
    assert isinstance(worker.process, ScriptedProcess)
    process = worker.process
    stage.clock.call(lambda: process.exit(-9))
    assert figures(stage)["waiting at calls"] == 0
    assert stage.leased(brings("one")) is not worker
    assert stage.pool.counts[Fallback.DIED] == 1


def test_a_turn_that_never_began_leaves_it_waiting(staged: Staging) -> None:
    stage = staged()
    worker = suspend(stage, "one")
    assert stage.leased(brings("one")) is worker
    stage.release(worker)
    assert worker.results == () and figures(stage)["waiting at calls"] == 1
    assert stage.leased(brings("one")) is worker
    assert stage.pool.counts[Count.SUSPENDED] == 1


def test_a_worker_in_doubt_is_not_kept(staged: Staging) -> None:
    stage = staged()
    wanted = asks()
    worker = stage.leased(wanted)
    wait_at(worker, "one", wanted)
    stage.release(worker, clean=False)
    assert (worker.process, True) in stage.table.retired
    assert stage.leased(brings("one")) is not worker


def test_a_worker_of_one_turn_waits_all_the_same(staged: Staging) -> None:
    """With "never", nobody else's turn follows on the loop."""
    stage = staged(share="never")
    worker = suspend(stage, "one")
    assert stage.leased(brings("one")) is worker
    worker.suspended, worker.results = None, ()
    stage.release(worker)
    assert stage.pool.counts[Retired.NOT_SHARED] == 1


@pytest.mark.parametrize(
    "options",
    [
        {"suspended": 0},
        {"level": "spawn"},
        {"abilities": replace(WAITS, waits=False)},
        {"abilities": replace(WAITS, keeps_thinking=False)},
        {"abilities": replace(WAITS, tools_in_body=False)},
    ],
)
def test_where_none_may_wait_nothing_is_counted(staged: Staging, options: dict[str, object]) -> None:
    stage = staged(**options)
    stage.leased(brings("one"))
    assert figures(stage) == {"waiting at calls": 0}


# Sessions


def test_a_session_goes_on_where_it_waits(staged: Staging) -> None:
    stage = staged()
    worker = suspend(stage, "one", asks(plan=SessionPlan("s", "create")))
    assert stage.pool.kept_sessions() == {"s"}
    resumed = SessionPlan("s", "resume", "mark of one")
    assert stage.leased(brings("one", plan=resumed)) is worker
    assert stage.pool.kept_sessions() == set()


@pytest.mark.parametrize("at", [None, "another mark"])
def test_a_session_that_has_moved_on_gets_another_process(staged: Staging, at: str | None) -> None:
    stage = staged()
    worker = suspend(stage, "one", asks(plan=SessionPlan("s", "create")))
    other = stage.leased(brings("one", plan=SessionPlan("s", "resume", at)))
    assert other is not worker and (worker.process, True) in stage.table.retired
    assert stage.pool.counts[Fallback.HISTORY] == 1


def test_a_sessions_question_ends_its_waiting_process(staged: Staging) -> None:
    """Two processes on one transcript lose turns."""
    stage = staged()
    worker = suspend(stage, "one", asks(plan=SessionPlan("s", "create")))
    stage.leased(asks(plan=SessionPlan("s", "resume", "mark of one")))
    assert (worker.process, True) in stage.table.retired
    assert stage.pool.counts[Retired.SESSION_MOVED_ON] == 1


def test_a_session_that_ends_takes_its_waiting_process_along(staged: Staging) -> None:
    stage = staged()
    worker = suspend(stage, "one", asks(plan=SessionPlan("s", "create")))
    stage.pool.end_session("s")
    assert (worker.process, True) in stage.table.retired
    assert stage.pool.kept_sessions() == set()


def test_a_login_that_was_refused_ends_them(staged: Staging) -> None:
    stage = staged()
    worker = suspend(stage, "one")
    stage.pool.retire_idle(Retired.LOGIN_REFUSED)
    assert (worker.process, True) in stage.table.retired
