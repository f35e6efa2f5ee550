"""The pool in any order of events: whatever happens, each worker is in one place and nobody waits in vain."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from claude_server.core.errors import CliFailed
from claude_server.core.model import Message, SessionPlan, Tool
from claude_server.engine.processes.argv import Launch
from claude_server.engine.processes.process import CliProcess
from claude_server.engine.workers.demand import Demand
from claude_server.engine.workers.state import Level, WorkerConfig, WorkerState, can_serve
from claude_server.engine.workers.worker import Limits, SharePolicy, Worker
from tests.engine.scripted import ABLE, ScriptedProcess, Stage

LIMITS = Limits(turns=3, age=400.0, idle=100.0)
Q, A = Message("user", ("Q",)), Message("assistant", ("A",))
_SESSIONS = ("s1", "s2", "s3")
# The last two differ only by a description, which a process keeps as it was first told.
FIND, LOOK = Tool("f", "finds", "{}"), Tool("g", "looks", "{}")
OTHER = Tool("f", "finds others", "{}")
TOOLS: st.SearchStrategy[tuple[Tool, ...]] = st.sampled_from([(), (), (FIND,), (FIND, LOOK), (OTHER,)])


class Given:
    """A lease that was asked for and isn't over."""

    def __init__(self, demand: Demand, future: asyncio.Future[Worker]) -> None:
        self.demand = demand
        self.future = future


class AnyOrder(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage(set_paused=True)
        self.size = 0
        self.kept = 0
        self.share: SharePolicy = "key"
        self.level: Level = "warm"
        self.leases: list[Given] = []
        self.seen: dict[CliProcess, Worker] = {}
        self.marks: dict[str, str] = {}
        self.owners: dict[Worker, str] = {}
        self.told: dict[Worker, list[tuple[Tool, ...]]] = {}
        self.abilities = ABLE
        self.turns = 0

    @initialize(
        size=st.integers(1, 3),
        warm=st.integers(0, 2),
        kept=st.integers(0, 2),
        share=st.sampled_from(["key", "any", "never"]),
        level=st.sampled_from(["warm", "warm", "keyed", "spawn"]),
        swaps=st.booleans(),
    )
    def begin(self, size: int, warm: int, kept: int, share: SharePolicy, level: Level, swaps: bool) -> None:
        self.stage.end()
        self.size, self.kept, self.share, self.level = size, kept, share, level
        self.abilities = replace(ABLE, swap_tools=swaps)
        self.stage = Stage(
            size=size,
            warm=min(warm, size),
            kept_sessions=kept,
            share=share,
            level=level,
            limits=LIMITS,
            set_paused=True,
            abilities=self.abilities,
        )

    # What happens

    def lease(self, demand: Demand) -> None:
        given = Given(demand, self.stage.lease(demand))
        self.leases.append(given)
        if given.future.done() and given.future.exception() is None:
            self.handed(given)
        self.stage.clock.settle()
        self.look()

    @rule(
        system=st.sampled_from(["", "S", "T"]),
        model=st.sampled_from([None, "m"]),
        custom=st.sampled_from([None, None, "x"]),
        owner=st.sampled_from(["a", "b"]),
        goes_on=st.booleans(),
        tools=TOOLS,
    )
    def ask(
        self,
        system: str,
        model: str | None,
        custom: str | None,
        owner: str,
        goes_on: bool,
        tools: tuple[Tool, ...],
    ) -> None:
        config = WorkerConfig(model, system, tools=tools)
        launch = Launch(custom_model=custom) if self.level == "warm" else Launch(model)
        self.lease(Demand(config, launch, owner, (Q, A) if goes_on else ()))

    @rule(
        uuid=st.sampled_from(_SESSIONS),
        goes_on=st.booleans(),
        system=st.sampled_from(["S", "T"]),
        tools=TOOLS,
    )
    def ask_in_a_session(self, uuid: str, goes_on: bool, system: str, tools: tuple[Tool, ...]) -> None:
        if any(given.demand.session == uuid for given in self.leases):
            return  # one at a time: the session's lock
        mark = self.marks.get(uuid)
        resume = goes_on and mark is not None
        plan = SessionPlan(uuid, "resume", mark) if resume else SessionPlan(uuid, "create")
        self.lease(Demand(WorkerConfig("m", system, tools=tools), Launch("m", plan), "a"))

    @precondition(lambda self: any(not given.future.done() for given in self.leases))
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        given = data.draw(st.sampled_from([given for given in self.leases if not given.future.done()]))
        given.future.cancel()
        self.leases.remove(given)

    @precondition(lambda self: self.stage.table.starting)
    @rule(data=st.data(), fails=st.sampled_from([False, False, True]))
    def start_ends(self, data: st.DataObject, fails: bool) -> None:
        start = data.draw(st.sampled_from(self.stage.table.starting))
        self.stage.finish(start, CliFailed("made up") if fails else None)
        self.look()

    @precondition(lambda self: any(given.future.done() for given in self.leases))
    @rule(data=st.data(), clean=st.sampled_from([True, True, True, False]), used=st.booleans())
    def release(self, data: st.DataObject, clean: bool, used: bool) -> None:
        given = data.draw(st.sampled_from([given for given in self.leases if given.future.done()]))
        self.over(given, clean, used)

    def over(self, given: Given, clean: bool = True, used: bool = True) -> None:
        worker = given.future.result()
        self.leases.remove(given)
        if used or not clean:
            self.turns += 1
            worker.turns += 1
            self.owners[worker] = given.demand.owner
            self.told.setdefault(worker, []).append(given.demand.config.tools)
            worker.mark = f"mark {self.turns}"
            if given.demand.session is not None and clean:
                self.marks[given.demand.session] = worker.mark
            state = worker.state or WorkerState(custom_model=worker.launch.custom_model)
            worker.state = state.after(given.demand.config, (Q, A))
        self.stage.release(worker, clean=clean)
        self.stage.clock.settle()
        if not clean:
            assert (worker.process, True) in self.stage.table.retired
        self.look()

    @precondition(lambda self: self.idle_processes())
    @rule(data=st.data())
    def an_idle_process_ends(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.idle_processes())).exit(1)
        self.stage.clock.settle()
        self.look()

    @rule(seconds=st.sampled_from([0.6, 5.0, 35.0, 120.0]))
    def time_passes(self, seconds: float) -> None:
        self.stage.pass_time(seconds)
        self.look()

    # What must hold

    def idle_processes(self) -> list[ScriptedProcess]:
        held = {given.future.result().process for given in self.leases if given.future.done()}
        return [p for p in self.stage.table.live if p not in held and isinstance(p, ScriptedProcess)]

    def look(self) -> None:
        """Take note of what has been handed out; drop who got an error."""
        for given in tuple(self.leases):
            if given.future.done():
                error = given.future.exception()
                if error is not None:
                    assert isinstance(error, CliFailed)
                    self.leases.remove(given)
                else:
                    self.handed(given)

    def handed(self, given: Given) -> None:
        worker = given.future.result()
        if self.seen.setdefault(worker.process, worker) is not worker:
            raise AssertionError("two workers on one process")
        if getattr(given, "checked", False):
            return
        given.checked = True  # type: ignore[attr-defined]
        demand = given.demand
        before = self.owners.get(worker)
        if self.share == "never":
            assert before is None
        elif self.share == "key":
            assert before in (None, demand.owner)
        if self.level == "spawn":
            assert worker.turns == 0
        if demand.session is not None:
            plan = worker.launch.session
            assert plan is not None and plan.uuid == demand.session
            if worker.state is not None:
                assert demand.launch.session is not None
                assert worker.mark == demand.launch.session.at == self.marks[demand.session]
                assert worker.state.current.system == demand.config.system
        else:
            assert worker.launch.session is None
            if worker.state is None or self.level == "spawn":
                assert worker.launch == demand.launch
            else:
                assert can_serve(worker.state, demand.config, demand.launch.custom_model, self.abilities)
        if self.level != "spawn":
            self.nobody_elses_tools(worker, demand.config.tools)

    def nobody_elses_tools(self, worker: Worker, wanted: tuple[Tool, ...]) -> None:
        """What the API is told of tools is what this turn says, whatever the process was told before."""
        before = [tools for tools in self.told.get(worker, ()) if tools]
        if self.abilities.swap_tools:
            first = {tool.name: tool for tools in reversed(before) for tool in tools}
            assert all(first.get(tool.name, tool) == tool for tool in wanted)
        elif before:
            # What it was given once can't be taken from it.
            assert set(before) == {wanted}

    @invariant()
    def no_worker_is_with_two(self) -> None:
        held = [given.future.result() for given in self.leases if given.future.done()]
        assert len(set(held)) == len(held)

    @invariant()
    def each_process_is_in_one_place(self) -> None:
        table, pool = self.stage.table, self.stage.pool
        retired = [process for process, _ in table.retired]
        assert len(set(retired)) == len(retired)
        held = [given.future.result().process for given in self.leases if given.future.done()]
        assert not set(held) & set(retired)
        waiting = sum(not given.future.done() for given in self.leases)
        idle = len(table.live) - len(held)
        text = repr(pool).rpartition(" waiting=")
        starting = len(table.starting)
        assert text[0] == f"<Pool idle={idle} suspended=0 busy={len(held)} starting={starting}"
        # One that gave up is still counted until its turn comes.
        assert int(text[2].rstrip(">")) >= waiting

    @invariant()
    def never_more_than_size(self) -> None:
        assert self.stage.table.sessionless <= self.size

    @invariant()
    def sessions_stay_within_their_cap(self) -> None:
        idle = [self.stage.table.started[process] for process in self.idle_processes()]
        sessions = [launch.session.uuid for launch in idle if launch.session is not None]
        assert len(sessions) <= self.kept
        assert len(set(sessions)) == len(sessions)

    @invariant()
    def nobody_waits_in_vain(self) -> None:
        """Each kind that is waited for is being started, unless all places are taken."""
        wanted = Counter(given.demand.launch for given in self.leases if not given.future.done())
        starting = Counter(start.launch for start in self.stage.table.starting)
        for launch, count in wanted.items():
            full = launch.session is None and self.stage.table.sessionless == self.size
            assert starting[launch] >= count or full

    @invariant()
    def full_means_busy(self) -> None:
        """While somebody waits for a place, none is idle that could be let go of."""
        starting = Counter(start.launch for start in self.stage.table.starting)
        wanted = Counter(
            given.demand.launch
            for given in self.leases
            if not given.future.done() and given.demand.session is None
        )
        if wanted - starting:
            assert all(self.stage.table.started[p].session is not None for p in self.idle_processes())

    @invariant()
    def nothing_went_wrong_unseen(self) -> None:
        assert self.stage.clock.problems == []

    def teardown(self) -> None:
        try:
            self.drain()
        finally:
            self.stage.end()
        assert self.stage.table.live == []
        assert self.stage.table.starting == []

    def drain(self) -> None:
        """All starts succeed and all workers come back: nobody is left waiting."""
        for _ in range(100):
            done = [given for given in self.leases if given.future.done()]
            if self.stage.table.starting:
                self.stage.finish(self.stage.table.starting[0])
                self.look()
            elif done:
                self.over(done[0])
            else:
                break
        assert self.leases == []


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
