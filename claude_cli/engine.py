"""The engine: turns on claude processes, as well as the installed CLI allows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

import structlog

from claude_cli import catalogue, control, selftest, state, transcripts
from claude_cli.argv import Launch, valid_model
from claude_cli.attempt import CliAttempt, Script
from claude_cli.control import Dialogue, initialize
from claude_cli.events import TurnTranslator
from claude_cli.findings import signature_of
from claude_cli.lacking import UNTESTED, lacking
from claude_cli.login import Login
from claude_cli.needs import Asked, asked
from claude_cli.plain import PlainDialogue
from claude_cli.pool import Demand, Pool
from claude_cli.probe import Installed, find_binary, installed, introduce, read_version
from claude_cli.single import SingleTurns
from claude_cli.state import FIRST_SERVER, Abilities, Level, Need
from claude_cli.sweep import kill_owned, sweep
from claude_cli.table import ProcessTable, private_folder, work_folder
from claude_cli.worker import Limits, Pause, Share, Worker, monotonic
from turns.errors import ModelNotFound, NotReady, StateFailed, TurnError
from turns.model import AttemptRequest, EngineState, Message, ModelInfo, SessionPlan

log = structlog.get_logger("claude_cli")

# Names that the CLI resolves itself; to set a worker to one of them costs nothing.
_ALIASES = frozenset({"default", "best", "sonnet", "opus", "haiku", "sonnet[1m]", "opus[1m]", "opusplan"})


@dataclass(frozen=True, slots=True)
class Options:
    """How the engine is to run; see the settings of the same names. `level` "auto": the best there is."""

    level: Level | Literal["auto"] = "auto"
    setting_sources: str = ""
    size: int = 4
    kept_sessions: int = 4
    limits: Limits = field(default_factory=Limits)
    share: Share = "key"
    # Where the CLI's own tools work; None: they are never used.
    work_folder: Path | None = None


@dataclass(frozen=True, slots=True)
class _Engine:
    """What holds for one binary: `signature` tells it from the one that an update puts in its place."""

    binary: str
    signature: str
    found: Installed
    abilities: Abilities
    level: Level
    listed: frozenset[str]
    table: ProcessTable
    pool: Pool
    single: SingleTurns


class CliEngine:
    """A Backend on the CLI `binary` (a name on the child's PATH, or a path)."""

    def __init__(self, binary: str, state_dir: Path, environ: Mapping[str, str], options: Options) -> None:
        self._binary_name = binary
        self._state_dir = state_dir
        self._environ = environ
        self._config_dir = transcripts.config_dir(environ)
        # Resolved, as a process sees it: the CLI makes the transcript's place of it.
        self._folders = [work_folder(state_dir).resolve()]
        if options.work_folder is not None:
            self._folders.append(options.work_folder)
        self._options = options
        self._engine: _Engine | None = None
        self._problem: str | None = "The claude CLI has not been looked at yet."
        self._looking: asyncio.Task[None] | None = None
        self._old: list[_Engine] = []
        self._login = Login(self._config_dir)
        self._asking: asyncio.Task[None] | None = None
        self._pause = Pause()
        self._failed_on = ""

    async def start(self) -> None:
        """Look at the CLI and warm up; `state` says what was found."""
        self._look()
        assert self._looking is not None
        # A start that is given up leaves it to close() to end what runs.
        await asyncio.shield(self._looking)

    async def close(self) -> None:
        for task in (self._looking, self._asking):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        for engine in self._engines:
            await engine.pool.close()
            await engine.single.close()
            await engine.table.close()
        await asyncio.to_thread(kill_owned)

    # What is installed

    def _look(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._inspect())

    def look_again(self) -> None:
        if self._current() is None and self._worth_a_look():
            self._look()

    async def _inspect(self) -> None:
        try:
            fresh = await self._inspected()
        except TurnError as error:
            self._unusable(error.message)
            return
        except OSError as error:
            # Such as no room for what it is tried out with.
            self._unusable(f"The claude CLI can't be looked at: {error}.")
            return
        self._pause.over()
        if self._engine is not None:
            # Its running turns end on it; its idle workers go now.
            self._old = [*(old for old in self._old if len(old.table)), self._engine]
            await self._engine.pool.close()
        self._engine, self._problem = fresh, None
        self._login.told(fresh.found.logged_in)
        await fresh.pool.warm_up()

    def _unusable(self, problem: str) -> None:
        self._problem = problem
        self._pause.failed(monotonic())
        self._failed_on = self._seen()

    async def look_at_login(self) -> None:
        if self._asking is None or self._asking.done():
            if self._engine is None or self._login.logged_in is not False:
                return
            self._asking = asyncio.get_running_loop().create_task(self._ask_again(self._engine))
        await asyncio.shield(self._asking)

    async def _ask_again(self, engine: _Engine) -> None:
        try:
            found = installed(engine.found.version, await introduce(engine.table))
        except TurnError as error:
            log.warning("the claude CLI can't be asked for its login", problem=error.message)
            return
        # What was refused before is refused still: only another login is news.
        news = found.logged_in and found.login_method != engine.found.login_method
        if news and engine is self._engine:
            self._engine = replace(engine, found=found)
            self._login.told(True)

    async def _inspected(self) -> _Engine:
        binary = find_binary(self._binary_name, self._environ.get("PATH"))
        signature = signature_of(binary)
        version = await read_version(binary, self._environ)
        wanted = self._options.level
        abilities = Abilities() if wanted in UNTESTED else await self._tried(binary, signature)
        level = abilities.level if wanted == "auto" else wanted
        table = ProcessTable(binary, self._state_dir, self._environ, self._options.setting_sources)
        if killed := await asyncio.to_thread(sweep, table.tmp):
            log.warning("killed claude processes that a server left behind", count=killed)
        found = installed(version, await introduce(table))
        names = {m.id for m in found.models} | {m.resolves_to for m in found.models if m.resolves_to}
        pool = Pool(
            table,
            abilities,
            level,
            size=self._options.size,
            kept_sessions=self._options.kept_sessions,
            limits=self._options.limits,
            share=self._options.share,
        )
        folder, store = self._options.work_folder, private_folder(self._state_dir) / "own-tools.json"
        tools = await catalogue.known(binary, signature, store, self._environ) if folder is not None else ()
        single = SingleTurns(table, folder, tools, level)
        return _Engine(binary, signature, found, abilities, level, _ALIASES | names, table, pool, single)

    async def _tried(self, binary: str, signature: str) -> Abilities:
        store = selftest.AbilityStore(private_folder(self._state_dir) / "abilities.json")
        abilities = store.load(signature)
        if abilities is None:
            log.info("trying out the claude CLI; this takes a few seconds, once for each version")
            abilities, sure = await selftest.run(binary, self._environ.get("PATH", ""))
            if sure:
                store.save(signature, abilities)
        return abilities

    @property
    def state(self) -> EngineState:
        engine = self._engine
        found = engine.found if engine else None
        problem = self._problem or (engine.pool.broken if engine else None)
        return EngineState(
            ready=problem is None and self._login.ready,
            level=engine.level if engine else "none",
            cli_version=found.version_text if found else None,
            logged_in=self._login.logged_in,
            login_method=found.login_method if found else None,
            problem=problem or self._login.problem,
            processes=sum(len(e.table) for e in self._engines),
            abilities=_shown(engine.abilities) if engine else {},
            workers={"idle": engine.pool.idle, **engine.pool.counts} if engine else {},
            tools=engine.single.tools if engine else (),
        )

    @property
    def models(self) -> tuple[ModelInfo, ...]:
        return self._engine.found.models if self._engine is not None else ()

    # Sessions

    def has_transcript(self, session_uuid: str, mark: str = "", *, tools: bool = False) -> bool:
        path = transcripts.transcript(self._config_dir, self._folders[-1 if tools else 0], session_uuid)
        return transcripts.holds(path, mark)

    def kept_sessions(self) -> frozenset[str]:
        return frozenset(uuid for engine in self._engines for uuid in engine.pool.kept_sessions())

    def end_session(self, session_uuid: str) -> None:
        for engine in self._engines:
            engine.pool.end_session(session_uuid)

    async def erase(self, session_uuid: str) -> bool:
        self.end_session(session_uuid)
        for engine in self._engines:
            await engine.table.gone(session_uuid)
        try:
            erase = partial(transcripts.erase, self._config_dir, session_uuid=session_uuid)
            return any([await asyncio.to_thread(erase, folder) for folder in self._folders])
        except OSError as error:
            raise StateFailed(f"The session's transcript can't be removed: {error}.") from error

    @property
    def _engines(self) -> tuple[_Engine, ...]:
        """That of the installed binary last, after those whose turns are still running."""
        return (*self._old, *([self._engine] if self._engine else ()))

    # Turns

    def open(self, request: AttemptRequest) -> CliAttempt:
        what = asked(request)
        return CliAttempt(self._lease(what), partial(self._script, what), self._give_back)

    def _lease(self, what: Asked) -> asyncio.Future[Worker]:
        refused = self._login.bars()
        if refused is not None:
            return _failed(NotReady(refused))
        engine = self._current()
        if engine is not None:
            return self._lease_from(engine, what)
        if self._problem is not None and not self._worth_a_look():
            return _failed(NotReady(self._problem))
        self._look()
        return asyncio.get_running_loop().create_task(self._lease_later(what))

    def _current(self) -> _Engine | None:
        """What serves turns now: nothing, if another binary is there."""
        engine = self._engine
        if engine is None or signature_of(engine.binary) != engine.signature:
            return None
        self._problem = None
        return engine

    def _worth_a_look(self) -> bool:
        return not self._pause.left(monotonic()) or self._seen() != self._failed_on

    def _seen(self) -> str:
        """What is there now under the binary's name."""
        try:
            return signature_of(find_binary(self._binary_name, self._environ.get("PATH")))
        except NotReady:
            return ""

    async def _lease_later(self, what: Asked) -> Worker:
        assert self._looking is not None
        await asyncio.shield(self._looking)
        if self._engine is None or self._problem is not None:
            raise NotReady(self._problem or "The claude CLI was not found.")
        lease = self._lease_from(self._engine, what)
        try:
            return await lease
        except asyncio.CancelledError:
            if lease.done() and not lease.cancelled() and lease.exception() is None:
                self._give_back(lease.result(), None)
            raise

    def _lease_from(self, engine: _Engine, what: Asked) -> asyncio.Future[Worker]:
        request, need = what.request, what.need
        model = request.turn.model
        if model is not None and not valid_model(model):
            return _failed(ModelNotFound(f"There is no model '{model[:100]}'.", param="model"))
        problem = lacking(request, need, engine.level, engine.abilities, runs_tools=bool(engine.single.tools))
        if problem is not None:
            return _failed(problem)
        if request.turn.cli_tools is not None:
            return engine.single.lease(what)
        launch = _launch(engine, request.session, need)
        return engine.pool.lease(Demand(need, launch, request.turn.owner, request.history))

    def _script(self, what: Asked, worker: Worker) -> Script:
        """What is said to `worker` for this turn."""
        if isinstance(worker.home, SingleTurns):
            return worker.home.script(what, worker)
        request, need = what.request, what.need
        session = request.session
        level = worker.home.level
        translator = TurnTranslator(
            engine=level,
            cost_before=worker.cost_usd,
            restored_cost=session.cost_usd if session is not None else None,
            answer=what.answer,
            stop=what.stop,
        )
        question, history = request.turn.question, request.history
        worker.turns += 1
        if worker.launch.plain is not None:
            return Script(PlainDialogue(history, question, translator), translator, what)
        write = control.as_text if level == "text" else control.conversation
        if worker.state is None:
            worker.initialized(need)
            assert worker.state is not None
            steps = [initialize(need.system, FIRST_SERVER if need.tools else None)]
            if level not in ("warm", "keyed"):
                # What else the turn needs was told at the start of the process.
                steps += write(history, question)
            elif session is not None:
                steps += state.session_steps(worker.state, need, history, question)
            else:
                steps += state.steps(worker.state, need, history, question)
        elif session is not None:
            steps = state.session_steps(worker.state, need, (), question)
        else:
            steps = state.steps(worker.state, need, history, question)
        worker.home.count("state steps", len(steps) - 1)
        return Script(Dialogue(steps, translator, need.tools), translator, what)

    def _give_back(self, worker: Worker, script: Script | None) -> None:
        """A turn is over: note what the worker holds now, and let the pool decide."""
        if script is None:
            worker.home.give_back(worker, clean=True)
            return
        translator, request = script.translator, script.asked.request
        if translator.login_problem is not None:
            self._login.refused(translator.login_problem)
        elif translator.done:
            self._login.accepted()
        worker.cost_usd = translator.total_cost
        worker.mark = translator.mark if translator.done else None
        if worker.state is not None:
            answer = translator.plain_answer
            said = (*request.history, request.turn.question)
            held = (*said, Message("assistant", (answer,))) if answer else None
            worker.state = worker.state.after(script.asked.need, held)
        clean = translator.clean
        if worker.launch.session is not None:
            # It goes on only from an answer: not from an error, and not from what follows an interrupt.
            clean = clean and translator.done and not translator.cut
        worker.home.give_back(worker, clean=clean)


def _launch(engine: _Engine, session: SessionPlan | None, need: Need) -> Launch:
    """How a process that is started for this turn begins."""
    if engine.level in UNTESTED:
        plain = need.system if engine.level == "plain" else None
        return Launch(need.model, session, effort=need.effort, flags=need.flags, plain=plain)
    if session is not None:
        return Launch(need.model, session)
    return Launch(custom_model=state.custom_model(need.model, engine.listed, engine.abilities))


def _failed(error: TurnError) -> asyncio.Future[Worker]:
    """A lease that can't be had."""
    refused: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
    refused.set_exception(error)
    return refused


def _shown(abilities: Abilities) -> dict[str, bool]:
    return {name: getattr(abilities, name) for name in abilities.__dataclass_fields__}
