"""The engine: turns on claude processes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import structlog

from claude_cli import control
from claude_cli.argv import Launch, valid_model
from claude_cli.attempt import CliAttempt
from claude_cli.events import TurnTranslator
from claude_cli.probe import Installed, find_binary, installed, introduce, login_problem, read_version
from claude_cli.process import CliProcess
from claude_cli.sweep import sweep
from claude_cli.table import ProcessTable
from turns.errors import ModelNotFound, NotReady, TurnError
from turns.model import AttemptRequest, EngineState, ModelInfo

log = structlog.get_logger("claude_cli")

# From here on earlier messages given over stdin are taken as such.
_INJECTS_FROM = (2, 1, 120)


class CliEngine:
    """A Backend on the CLI `binary` (a name on the child's PATH, or a path)."""

    def __init__(
        self, binary: str, state_dir: Path, environ: Mapping[str, str], *, level: str, setting_sources: str
    ) -> None:
        self._binary_name = binary
        self._state_dir = state_dir
        self._environ = environ
        self._wanted_level = level
        self._setting_sources = setting_sources
        self._table: ProcessTable | None = None
        self._installed: Installed | None = None
        self._problem: str | None = "The claude CLI has not been looked at yet."

    async def start(self) -> None:
        """Look at the CLI; `state` says what was found."""
        try:
            binary = find_binary(self._binary_name, self._environ.get("PATH"))
            version = await read_version(binary, self._environ)
            self._table = ProcessTable(binary, self._state_dir, self._environ, self._setting_sources)
            if killed := await asyncio.to_thread(sweep, self._table.tmp):
                log.warning("killed claude processes that a server left behind", count=killed)
            self._installed = installed(version, await introduce(self._table))
            self._problem = None
        except TurnError as error:
            self._problem = error.message

    async def close(self) -> None:
        if self._table is not None:
            await self._table.close()

    @property
    def level(self) -> str:
        """What the CLI is used for: spawn or text (see CLAUDE_ENGINE)."""
        if self._wanted_level != "auto":
            return self._wanted_level
        injects = self._installed is not None and self._installed.version >= _INJECTS_FROM
        return "spawn" if injects else "text"

    @property
    def state(self) -> EngineState:
        found = self._installed
        return EngineState(
            ready=self._problem is None and (found is None or found.logged_in is not False),
            level=self.level,
            cli_version=found.version_text if found else None,
            logged_in=found.logged_in if found else None,
            login_method=found.login_method if found else None,
            problem=self._problem or (login_problem(found) if found else None),
            processes=len(self._table) if self._table is not None else 0,
        )

    @property
    def models(self) -> tuple[ModelInfo, ...]:
        return self._installed.models if self._installed is not None else ()

    def has_transcript(self, session_uuid: str) -> bool:
        return self._table is not None and self._table.transcript(session_uuid).exists()

    def open(self, request: AttemptRequest) -> CliAttempt:
        model = request.turn.model
        write = control.as_text if self.level == "text" else control.conversation
        steps = [control.initialize(request.system), *write(request.history, request.turn.question)]
        session = request.session
        translator = TurnTranslator(engine=self.level, restored_cost=session.cost_usd if session else None)
        return CliAttempt(partial(self._launch, Launch(model, session)), steps, translator, self._retire)

    async def _launch(self, launch: Launch) -> CliProcess:
        if launch.model is not None and not valid_model(launch.model):
            raise ModelNotFound(f"There is no model '{launch.model[:100]}'.", param="model")
        if self._table is None or self._problem is not None:
            raise NotReady(self._problem or "The claude CLI was not found.")
        return await self._table.start(launch)

    def _retire(self, process: CliProcess, now: bool) -> None:
        if self._table is not None:
            self._table.retire(process, now=now)
