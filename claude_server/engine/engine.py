"""The engine: probes the installed CLI, and runs turns on its processes at the best level it allows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

import structlog

from claude_server.core.errors import ModelNotFound, NotReady, StateFailed, TurnError
from claude_server.core.model import AttemptRequest, EngineState, Message, ModelInfo, SessionPlan
from claude_server.engine.discovery import catalogue
from claude_server.engine.discovery.probe import CliInfo, find_binary, handshake, parse_info, read_version
from claude_server.engine.discovery.retest import AbilityKeeper
from claude_server.engine.discovery.unsupported import NO_LONG_CACHE, UNTESTED, UNTESTED_LEVELS, unsupported
from claude_server.engine.processes import transcripts
from claude_server.engine.processes.argv import SIMPLE, Launch, valid_model
from claude_server.engine.processes.binary_cache import signature_of
from claude_server.engine.processes.sweep import kill_owned, sweep
from claude_server.engine.processes.table import ProcessTable, private_folder, work_folder
from claude_server.engine.protocol import control
from claude_server.engine.protocol.advice import LoginAdvice
from claude_server.engine.protocol.control import Dialogue, Expect, Step, initialize
from claude_server.engine.protocol.events import TurnTranslator
from claude_server.engine.protocol.plain import PlainDialogue
from claude_server.engine.workers import state
from claude_server.engine.workers.attempt import CliAttempt, Script
from claude_server.engine.workers.attempt_spec import AttemptSpec, attempt_spec
from claude_server.engine.workers.counters import Count, Retired
from claude_server.engine.workers.login import LoginState, LoginUse
from claude_server.engine.workers.one_shot import OneShotWorkers
from claude_server.engine.workers.pool import Demand, Pool
from claude_server.engine.workers.state import FIRST_SERVER, Abilities, Level, WorkerConfig
from claude_server.engine.workers.worker import Backoff, Limits, SharePolicy, Worker, monotonic

log = structlog.get_logger("claude_cli")

# Model names that the CLI resolves itself: switching a worker to one of them sends no request.
_ALIASES = frozenset({"default", "best", "sonnet", "opus", "haiku", "sonnet[1m]", "opus[1m]", "opusplan"})


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How the engine runs; see the settings of the same names. `level` "auto": the best one available."""

    level: Level | Literal["auto"] = "auto"
    setting_sources: str = ""
    size: int = 4
    kept_sessions: int = 4
    limits: Limits = field(default_factory=Limits)
    share: SharePolicy = "key"
    # May the CLI's own notes be left out, where it can do that (argv.SIMPLE)? Not with a claude.ai login.
    simple: bool = False
    # Where the CLI's own tools work; None: they are never used.
    work_folder: Path | None = None


@dataclass(frozen=True, slots=True)
class _BinaryEngine:
    """Everything that belongs to one binary. Its `signature` changes when an update replaces the file."""

    binary: str
    signature: str
    info: CliInfo
    abilities: Abilities
    level: Level
    listed_models: frozenset[str]
    table: ProcessTable
    pool: Pool
    one_shot: OneShotWorkers


class CliEngine:
    """A Backend on the CLI `binary` (a name on the child's PATH, or a path)."""

    def __init__(
        self, binary: str, state_dir: Path, environ: Mapping[str, str], options: EngineOptions
    ) -> None:
        self._binary_name = binary
        self._state_dir = state_dir
        self._environ = environ
        self._config_dir = transcripts.config_dir(environ)
        # Resolved, as a process sees it: the CLI derives the transcript's path from it.
        self._folders = [work_folder(state_dir).resolve()]
        if options.work_folder is not None:
            self._folders.append(options.work_folder)
        self._options = options
        self._engine: _BinaryEngine | None = None
        self._problem: str | None = "The claude CLI has not been looked at yet."
        self._keeper = AbilityKeeper(state_dir, environ.get("PATH", ""), self._is_idle, self._renew)
        self._probe_task: asyncio.Task[None] | None = None
        self._old: list[_BinaryEngine] = []
        self._login = LoginState(self._config_dir, before_trial=self._retire_idle)
        self._login_task: asyncio.Task[None] | None = None
        self._backoff = Backoff()
        self._failed_signature = ""

    async def start(self) -> None:
        """Probe the CLI and warm up; `state` shows the result."""
        self._start_probe()
        assert self._probe_task is not None
        # If the start is cancelled, close() ends the probe.
        await asyncio.shield(self._probe_task)

    async def close(self) -> None:
        tasks = [task for task in (self._keeper.task, self._probe_task, self._login_task) if task is not None]
        # All before the first wait: one may start the other.
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for engine in self._engines:
            await engine.pool.close()
            await engine.one_shot.close()
            await engine.table.close()
        await asyncio.to_thread(kill_owned)

    # Probing the binary

    def _start_probe(self) -> None:
        if self._probe_task is None or self._probe_task.done():
            self._probe_task = asyncio.get_running_loop().create_task(self._probe())

    def probe_if_due(self) -> None:
        if self._current() is None and self._may_probe():
            self._start_probe()

    async def _probe(self) -> None:
        try:
            fresh = await self._probe_engine()
        except TurnError as error:
            self._probe_failed(error.message)
            return
        except OSError as error:
            # For example a full disk: the probe needs room for its own files.
            self._probe_failed(f"The claude CLI can't be looked at: {error}.")
            return
        self._backoff.reset()
        replaced, self._engine, self._problem = self._engine, fresh, None
        self._login.reported(fresh.info.logged_in, self._advice)
        if replaced is not None:
            # Its running turns end on it; its idle workers go now.
            self._old = [*(old for old in self._old if len(old.table)), replaced]
            await replaced.pool.close()
        await fresh.pool.warm_up()

    def _probe_failed(self, problem: str) -> None:
        self._problem = problem
        self._backoff.failed(monotonic())
        self._failed_signature = self._installed_signature()

    async def _renew(self) -> bool:
        """Replace the binary's engine by one that uses what is known of it now. False: that failed."""
        await self.start()
        return self._problem is None

    def _is_idle(self) -> bool:
        """Does no turn run, and is no process being started? Whoever probes starts some."""
        probing = self._probe_task is not None and not self._probe_task.done()
        return not probing and all(len(engine.table) == engine.pool.idle for engine in self._engines)

    async def recheck_login(self) -> None:
        if self._login_task is None or self._login_task.done():
            if self._engine is None or self._login.logged_in is not False:
                return
            self._login_task = asyncio.get_running_loop().create_task(self._recheck_login(self._engine))
        await asyncio.shield(self._login_task)

    async def _recheck_login(self, engine: _BinaryEngine) -> None:
        try:
            info = parse_info(engine.info.version, await handshake(engine.table))
        except TurnError as error:
            log.warning("the claude CLI can't be asked for its login", problem=error.message)
            return
        # A login that was refused stays refused: only a different one counts.
        news = info.logged_in and info.login_method != engine.info.login_method
        if news and engine is self._engine:
            self._engine = replace(engine, info=info)
            self._login.reported(True)

    async def _probe_engine(self) -> _BinaryEngine:
        binary = find_binary(self._binary_name, self._environ.get("PATH"))
        signature = signature_of(binary)
        version = await read_version(binary, self._environ)
        wanted = self._options.level
        abilities = UNTESTED if wanted in UNTESTED_LEVELS else await self._keeper.abilities(binary, signature)
        level = abilities.level if wanted == "auto" else wanted
        environ = self._environ
        # Settings of the operator's may need what it leaves out.
        if abilities.simple and self._options.simple and not self._options.setting_sources:
            environ = {**environ, SIMPLE: "1"}
            abilities = replace(abilities, stable_prefix=True)
        else:
            abilities = replace(abilities, simple=False)
        table = ProcessTable(binary, signature, self._state_dir, environ, self._options.setting_sources)
        if killed := await asyncio.to_thread(sweep, table.tmp):
            log.warning("killed claude processes that a server left behind", count=killed)
        info = parse_info(version, await handshake(table))
        names = {m.id for m in info.models} | {m.resolves_to for m in info.models if m.resolves_to}
        folder, store = self._options.work_folder, private_folder(self._state_dir) / "own-tools.json"
        tools = (
            await catalogue.cached_tools(binary, signature, store, self._environ)
            if folder is not None
            else ()
        )
        pool = Pool(
            table,
            abilities,
            level,
            size=self._options.size,
            kept_sessions=self._options.kept_sessions,
            limits=self._options.limits,
            share=self._options.share,
        )
        one_shot = OneShotWorkers(table, folder, tools, level)
        return _BinaryEngine(
            binary, signature, info, abilities, level, _ALIASES | names, table, pool, one_shot
        )

    @property
    def state(self) -> EngineState:
        engine = self._engine
        info = engine.info if engine else None
        problem = self._problem or (engine.pool.broken if engine else None)
        return EngineState(
            ready=problem is None and self._login.ready,
            level=engine.level if engine else "none",
            cli_version=info.version_text if info else None,
            logged_in=self._login.logged_in,
            login_method=info.login_method if info else None,
            problem=problem or self._login.problem,
            account_problem=self._login.trouble,
            processes=sum(len(e.table) for e in self._engines),
            abilities=_ability_flags(engine.abilities) if engine else {},
            workers=engine.pool.figures if engine else {},
            tools=engine.one_shot.tools if engine else (),
        )

    @property
    def models(self) -> tuple[ModelInfo, ...]:
        return self._engine.info.models if self._engine is not None else ()

    # Sessions

    def has_transcript(self, session_uuid: str, mark: str = "", *, tools: bool = False) -> bool:
        path = transcripts.transcript(self._config_dir, self._folders[-1 if tools else 0], session_uuid)
        return transcripts.contains_event(path, mark)

    def kept_sessions(self) -> frozenset[str]:
        return frozenset(uuid for engine in self._engines for uuid in engine.pool.kept_sessions())

    def end_session(self, session_uuid: str) -> None:
        for engine in self._engines:
            engine.pool.end_session(session_uuid)

    async def erase(self, session_uuid: str) -> bool:
        self.end_session(session_uuid)
        for engine in self._engines:
            await engine.table.wait_ended(session_uuid)
        try:
            erase = partial(transcripts.erase, self._config_dir, session_uuid=session_uuid)
            return any([await asyncio.to_thread(erase, folder) for folder in self._folders])
        except OSError as error:
            raise StateFailed(f"The session's transcript can't be removed: {error}.") from error

    @property
    def _keeps_cache(self) -> bool:
        return self._engine is not None and self._engine.abilities.cache_ttl

    @property
    def _engines(self) -> tuple[_BinaryEngine, ...]:
        """Engines of replaced binaries whose turns still run, then that of the installed binary."""
        return (*self._old, *([self._engine] if self._engine else ()))

    @property
    def _advice(self) -> LoginAdvice:
        engine, environ = self._engine, self._environ
        named = environ.get("CLAUDE_CONFIG_DIR", ""), environ.get("ANTHROPIC_BASE_URL", "")
        if engine is None:
            return LoginAdvice(self._binary_name, None, *named)
        return LoginAdvice(engine.binary, engine.info.login_method, *named)

    def _retire_idle(self) -> None:
        for engine in self._engines:
            engine.pool.retire_idle(Retired.LOGIN_REFUSED)

    # Turns

    def open(self, request: AttemptRequest) -> CliAttempt:
        spec = attempt_spec(request, self.models)
        login = self._login.enter()
        return CliAttempt(self._lease(spec, login), partial(self._script, spec), self._release, login)

    def _lease(self, spec: AttemptSpec, login: LoginUse) -> asyncio.Future[Worker]:
        if login.refusal is not None:
            return _failed_lease(login.refusal)
        engine = self._current()
        if engine is not None:
            return self._lease_from(engine, spec)
        if self._problem is not None and not self._may_probe():
            return _failed_lease(NotReady(self._problem))
        self._start_probe()
        return asyncio.get_running_loop().create_task(self._lease_after_probe(spec))

    def _current(self) -> _BinaryEngine | None:
        """The engine of the installed binary; None if there is none yet, or the binary was replaced."""
        engine = self._engine
        if engine is None or signature_of(engine.binary) != engine.signature:
            return None
        self._problem = None
        return engine

    def _may_probe(self) -> bool:
        return (
            not self._backoff.remaining(monotonic()) or self._installed_signature() != self._failed_signature
        )

    def _installed_signature(self) -> str:
        """The signature of the file that the binary's name stands for now; "" if there is none."""
        try:
            return signature_of(find_binary(self._binary_name, self._environ.get("PATH")))
        except NotReady:
            return ""

    async def _lease_after_probe(self, spec: AttemptSpec) -> Worker:
        assert self._probe_task is not None
        await asyncio.shield(self._probe_task)
        if self._engine is None or self._problem is not None:
            raise NotReady(self._problem or "The claude CLI was not found.")
        lease = self._lease_from(self._engine, spec)
        try:
            return await lease
        except asyncio.CancelledError:
            if lease.done() and not lease.cancelled() and lease.exception() is None:
                self._release(lease.result(), None)
            raise

    def _lease_from(self, engine: _BinaryEngine, spec: AttemptSpec) -> asyncio.Future[Worker]:
        request, config = spec.request, spec.config
        model = request.turn.model
        if model is not None and not valid_model(model):
            return _failed_lease(ModelNotFound(f"There is no model '{model[:100]}'.", param="model"))
        problem = unsupported(
            request, config, engine.level, engine.abilities, runs_tools=bool(engine.one_shot.tools)
        )
        if problem is not None:
            return _failed_lease(problem)
        if request.turn.cli_tools is not None:
            return engine.one_shot.lease(spec)
        launch = _launch(engine, request.session, config)
        return engine.pool.lease(Demand(config, launch, request.turn.owner, request.history))

    def _script(self, spec: AttemptSpec, worker: Worker) -> Script:
        """The script that runs this turn on `worker`."""
        if isinstance(worker.source, OneShotWorkers):
            return worker.source.script(spec, worker, self._advice)
        request, config = spec.request, spec.config
        session = request.session
        level = worker.source.level
        translator = TurnTranslator(
            engine=level,
            cost_before=worker.cost_usd,
            restored_cost=session.cost_usd if session is not None else None,
            answer=spec.answer,
            stop=spec.stop,
            names=spec.names,
            notices=(NO_LONG_CACHE,) if config.long_cache and not self._keeps_cache else (),
            model=request.turn.model,
            advice=self._advice,
        )
        question, history = request.turn.question, request.history
        worker.turns += 1
        if worker.launch.plain is not None:
            return Script(PlainDialogue(history, question, translator), translator, spec)
        write = control.flattened if level == "text" else control.conversation
        if worker.state is None:
            worker.initialized(config)
            assert worker.state is not None
            steps = [initialize(config.system, FIRST_SERVER if config.tools else None)]
            if level not in ("warm", "keyed"):
                # The rest of the configuration was set at the start of the process.
                if worker.state.tools_in_body and config.tools:
                    steps.append(Step((state.flags(config, lists_tools=True),), Expect.ACKS))
                steps += write(history, question)
            elif session is not None:
                steps += state.session_steps(worker.state, config, history, question)
            else:
                steps += state.turn_steps(worker.state, config, history, question)
        elif session is not None:
            steps = state.session_steps(worker.state, config, (), question)
        else:
            steps = state.turn_steps(worker.state, config, history, question)
        worker.source.count(Count.STATE_STEPS, len(steps) - 1)
        if worker.idled_long:
            # Before anything that costs: a process that was stopped would do it once it goes on.
            steps.insert(0, control.are_you_there())
        return Script(Dialogue(steps, translator, worker.state.listed(config)), translator, spec)

    def _release(self, worker: Worker, script: Script | None) -> None:
        """End a turn: record the worker's new state, and return the worker to where it came from."""
        if script is None:
            worker.source.release(worker, clean=True)
            return
        translator, request = script.translator, script.spec.request
        worker.cost_usd = translator.total_cost
        worker.mark = translator.mark if translator.done else None
        if worker.state is not None:
            answer = translator.plain_answer
            said = (*request.history, request.turn.question)
            held = (*said, Message("assistant", (answer,))) if answer else None
            worker.state = worker.state.after(script.spec.config, held)
        clean = translator.clean
        if worker.launch.session is not None:
            # A session continues only from an answer: not from an error, nor from what follows an interrupt.
            clean = clean and translator.done and not translator.cut
        worker.source.release(worker, clean=clean)


def _launch(engine: _BinaryEngine, session: SessionPlan | None, config: WorkerConfig) -> Launch:
    """The launch of a process that is started for this turn."""
    if engine.level in UNTESTED_LEVELS:
        plain = config.system if engine.level == "plain" else None
        return Launch(config.model, session, effort=config.effort, flags=config.flags, plain=plain)
    if session is not None:
        return Launch(config.model, session)
    return Launch(custom_model=state.custom_model(config.model, engine.listed_models, engine.abilities))


def _failed_lease(error: TurnError) -> asyncio.Future[Worker]:
    """A lease that has already failed with `error`."""
    refused: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
    refused.set_exception(error)
    return refused


def _ability_flags(abilities: Abilities) -> dict[str, bool]:
    return {name: getattr(abilities, name) for name in abilities.__dataclass_fields__}
