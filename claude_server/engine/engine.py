"""The engine: wires the installed binary, its workers, the login and the conversations on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import structlog

from claude_server.core.backend import EngineState
from claude_server.core.errors import ModelNotFound, NotReady, TurnError
from claude_server.core.model import AttemptRequest, ModelInfo, TurnRequest
from claude_server.engine.binary import BinaryEngine, EngineOptions
from claude_server.engine.conversations import Conversations
from claude_server.engine.discovery.probe import handshake, parse_info
from claude_server.engine.installation import Installation
from claude_server.engine.processes.argv import valid_model
from claude_server.engine.protocol.advice import LoginAdvice
from claude_server.engine.workers.attempt import CliAttempt
from claude_server.engine.workers.attempt_spec import AttemptSpec, attempt_spec
from claude_server.engine.workers.counters import Retired
from claude_server.engine.workers.demand import Demand
from claude_server.engine.workers.login import LoginState, LoginUse
from claude_server.engine.workers.script import launch_for
from claude_server.engine.workers.state import Abilities
from claude_server.engine.workers.unsupported import unsupported
from claude_server.engine.workers.worker import Worker

log = structlog.get_logger("claude_cli")


class CliEngine:
    """A Backend on the CLI `binary` (a name on the child's PATH, or a path)."""

    def __init__(
        self, binary: str, state_dir: Path, environ: Mapping[str, str], options: EngineOptions
    ) -> None:
        self._environ = environ
        self._conversations = Conversations(environ, state_dir, options.work_folder)
        self._installation = Installation(binary, state_dir, environ, options, self._looked_at)
        self._login = LoginState(self._conversations.config_dir, before_trial=self._retire_idle)
        self._login_task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Probe the CLI and warm up; `state` shows the result."""
        await self._installation.start()

    async def close(self) -> None:
        if self._login_task is not None:
            self._login_task.cancel()
            await asyncio.gather(self._login_task, return_exceptions=True)
        await self._installation.close()

    def probe_if_due(self) -> None:
        self._installation.probe_if_due()

    @property
    def state(self) -> EngineState:
        engine, login = self._installation.engine, self._login
        info = engine.info if engine else None
        problem = self._installation.problem or (engine.pool.broken if engine else None)
        return EngineState(
            ready=problem is None and login.ready,
            level=engine.level if engine else "none",
            cli_version=info.version_text if info else None,
            logged_in=login.logged_in,
            login_method=info.login_method if info else None,
            problem=problem or login.problem,
            account_problem=login.trouble,
            processes=sum(len(e.table) for e in self._installation.engines),
            abilities=_ability_flags(engine.abilities) if engine else {},
            workers=engine.pool.figures if engine else {},
            tools=engine.one_shot.tools if engine else (),
        )

    @property
    def models(self) -> tuple[ModelInfo, ...]:
        engine = self._installation.engine
        return engine.info.models if engine is not None else ()

    # The login

    async def recheck_login(self) -> None:
        if self._login_task is None or self._login_task.done():
            engine = self._installation.engine
            if engine is None or self._login.logged_in is not False:
                return
            self._login_task = asyncio.get_running_loop().create_task(self._recheck_login(engine))
        await asyncio.shield(self._login_task)

    async def _recheck_login(self, engine: BinaryEngine) -> None:
        try:
            info = parse_info(engine.info.version, await handshake(engine.table))
        except TurnError as error:
            log.warning("the claude CLI can't be asked for its login", problem=error.message)
            return
        # A login that was refused stays refused: only a different one counts.
        news = info.logged_in and info.login_method != engine.info.login_method
        if news and self._installation.note_login(engine, info):
            self._login.reported(True, self._advice(engine, info.login_method))

    def _looked_at(self, engine: BinaryEngine) -> None:
        self._login.reported(engine.info.logged_in, self._advice(engine, engine.info.login_method))

    def _advice(self, engine: BinaryEngine, login_method: str | None) -> LoginAdvice:
        named = self._environ.get("CLAUDE_CONFIG_DIR", ""), self._environ.get("ANTHROPIC_BASE_URL", "")
        return LoginAdvice(engine.binary, login_method, *named)

    def _retire_idle(self) -> None:
        for engine in self._installation.engines:
            engine.pool.retire_idle(Retired.LOGIN_REFUSED)
            engine.counting.pool.retire_idle(Retired.LOGIN_REFUSED)

    # Sessions

    def has_transcript(self, session_uuid: str, mark: str = "", *, tools: bool = False) -> bool:
        return self._conversations.holds(session_uuid, mark, tools=tools)

    def kept_sessions(self) -> frozenset[str]:
        return frozenset(uuid for e in self._installation.engines for uuid in e.pool.kept_sessions())

    def end_session(self, session_uuid: str) -> None:
        for engine in self._installation.engines:
            engine.pool.end_session(session_uuid)

    async def erase(self, session_uuid: str) -> bool:
        self.end_session(session_uuid)
        for engine in self._installation.engines:
            await engine.table.wait_ended(session_uuid)
        return await self._conversations.erase(session_uuid)

    async def count_tokens(self, turn: TurnRequest) -> int:
        engine = self._installation.current()
        if engine is None or not engine.abilities.counts_tokens or not self._login.ready:
            raise NotReady("The claude CLI can't count tokens, or isn't ready to.")
        if turn.model is not None and not valid_model(turn.model):
            raise _unknown(turn.model)
        spec = self._spec(AttemptRequest(turn, turn.system, turn.history))
        return await engine.counting.count(spec)

    # Turns

    def open(self, request: AttemptRequest) -> CliAttempt:
        spec = self._spec(request)
        login = self._login.enter()
        return CliAttempt(self._lease(spec, login), spec, login)

    def _spec(self, request: AttemptRequest) -> AttemptSpec:
        engine = self._installation.engine
        takes_thoughts = engine is not None and engine.abilities.thoughts
        return attempt_spec(request, self.models, takes_thoughts=takes_thoughts)

    def _lease(self, spec: AttemptSpec, login: LoginUse) -> asyncio.Future[Worker]:
        if login.refusal is not None:
            return _failed_lease(login.refusal)
        engine = self._installation.current()
        if engine is not None:
            return _lease_from(engine, spec)
        if not self._installation.probe_if_due():
            return _failed_lease(NotReady(self._installation.problem or ""))
        return asyncio.get_running_loop().create_task(self._lease_after_probe(spec))

    async def _lease_after_probe(self, spec: AttemptSpec) -> Worker:
        lease = _lease_from(await self._installation.probed(), spec)
        try:
            return await lease
        except asyncio.CancelledError:
            if lease.done() and not lease.cancelled() and lease.exception() is None:
                lease.result().finish(None)
            raise


def _lease_from(engine: BinaryEngine, spec: AttemptSpec) -> asyncio.Future[Worker]:
    request, config = spec.request, spec.config
    model = request.turn.model
    if model is not None and not valid_model(model):
        return _failed_lease(_unknown(model))
    runs_tools = bool(engine.one_shot.tools)
    problem = unsupported(request, config, engine.level, engine.abilities, runs_tools=runs_tools)
    if problem is not None:
        return _failed_lease(problem)
    if request.turn.cli_tools is not None:
        return engine.one_shot.lease(spec)
    launch = launch_for(spec, engine.level, engine.listed_models, engine.abilities)
    turn = request.turn
    demand = Demand(config, launch, turn.owner, request.history, turn.question, turn.thinking)
    return engine.pool.lease(demand)


def _unknown(model: str) -> ModelNotFound:
    return ModelNotFound(f"There is no model '{model[:100]}'.", param="model")


def _failed_lease(error: TurnError) -> asyncio.Future[Worker]:
    """A lease that has already failed with `error`."""
    refused: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
    refused.set_exception(error)
    return refused


def _ability_flags(abilities: Abilities) -> dict[str, bool]:
    return {name: getattr(abilities, name) for name in abilities.__dataclass_fields__}
