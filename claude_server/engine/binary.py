"""One installed binary: looking at it, and making an engine of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import structlog

from claude_server.core.errors import NotReady
from claude_server.engine.discovery import catalogue
from claude_server.engine.discovery.probe import CliInfo, find_binary, handshake, parse_info, read_version
from claude_server.engine.discovery.retest import AbilityKeeper
from claude_server.engine.processes.argv import SIMPLE
from claude_server.engine.processes.binary_cache import signature_of
from claude_server.engine.processes.sweep import sweep
from claude_server.engine.processes.table import ProcessTable, private_folder
from claude_server.engine.protocol.costs import CostRequest
from claude_server.engine.workers.counting import TokenCounting
from claude_server.engine.workers.one_shot import OneShotWorkers
from claude_server.engine.workers.pool import Pool
from claude_server.engine.workers.state import Abilities, Level
from claude_server.engine.workers.unsupported import UNTESTED, UNTESTED_LEVELS
from claude_server.engine.workers.worker import Limits, SharePolicy

log = structlog.get_logger("claude_cli")

# Model names that the CLI resolves itself: switching a worker to one of them sends no request.
_ALIASES = frozenset({"default", "best", "sonnet", "opus", "haiku", "sonnet[1m]", "opus[1m]", "opusplan"})


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How the engine runs; see the settings of the same names. `level` "auto": the best one available."""

    level: Level | Literal["auto"] = "auto"
    setting_sources: str = ""
    size: int = 4
    warm: int = 4
    kept_sessions: int = 4
    limits: Limits = field(default_factory=Limits)
    share: SharePolicy = "key"
    # May the CLI's own notes be left out, where it can do that (argv.SIMPLE)? Not with a claude.ai login.
    simple: bool = False
    # How many workers may wait at calls, and for how many seconds each.
    suspended: int = 8
    suspended_idle: float = 300.0
    cost_request: CostRequest = "get_session_cost"
    # Where the CLI's own tools work; None: they are never used.
    work_folder: Path | None = None


@dataclass(frozen=True, slots=True)
class BinaryEngine:
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
    counting: TokenCounting

    @property
    def is_idle(self) -> bool:
        """Does no turn run, and is no process being started?"""
        return len(self.table) == self.pool.resting + self.counting.pool.resting

    @property
    def is_installed(self) -> bool:
        """Is the file still the one that was looked at?"""
        return signature_of(self.binary) == self.signature


class EngineBuilder:
    """Makes engines of the binary that `name` stands for, a name on the child's PATH or a path."""

    def __init__(
        self, name: str, state_dir: Path, environ: Mapping[str, str], options: EngineOptions
    ) -> None:
        self._name = name
        self._state_dir = state_dir
        self._environ = environ
        self._options = options

    def installed_signature(self) -> str:
        """The signature of the file that the name stands for now; "" if there is none."""
        try:
            return signature_of(find_binary(self._name, self._environ.get("PATH")))
        except NotReady:
            return ""

    async def build(self, keeper: AbilityKeeper) -> BinaryEngine:
        """Look at the installed binary and make an engine of it; `keeper` knows what it can do, or tries it
        out. Raises TurnError, and OSError where the state folder takes nothing."""
        binary = find_binary(self._name, self._environ.get("PATH"))
        signature = signature_of(binary)
        version = await read_version(binary, self._environ)
        wanted = self._options.level
        abilities = UNTESTED if wanted in UNTESTED_LEVELS else await keeper.abilities(binary, signature)
        level = abilities.level if wanted == "auto" else wanted
        environ = self._environ
        # Settings of the operator's may need what it leaves out.
        if abilities.simple and self._options.simple and not self._options.setting_sources:
            environ = {**environ, SIMPLE: "1"}
            abilities = replace(abilities, stable_prefix=True)
        else:
            abilities = replace(abilities, simple=False)
        if not self._options.suspended:
            abilities = replace(abilities, waits=False)
        table = ProcessTable(binary, signature, self._state_dir, environ, self._options.setting_sources)
        if killed := await asyncio.to_thread(sweep, table.tmp):
            log.warning("killed claude processes that a server left behind", count=killed)
        info = parse_info(version, await handshake(table))
        names = {m.id for m in info.models} | {m.resolves_to for m in info.models if m.resolves_to}
        one_shot = await self._one_shot(binary, signature, table, level)
        # The last ones: they have timers, which a failure would leave running.
        pool = self._pool(table, abilities, level)
        counting = TokenCounting(table, abilities, limits=self._options.limits, share=self._options.share)
        listed = _ALIASES | names
        return BinaryEngine(
            binary, signature, info, abilities, level, listed, table, pool, one_shot, counting
        )

    async def _one_shot(
        self, binary: str, signature: str, table: ProcessTable, level: Level
    ) -> OneShotWorkers:
        folder, store = self._options.work_folder, private_folder(self._state_dir) / "own-tools.json"
        tools = (
            await catalogue.cached_tools(binary, signature, store, self._environ)
            if folder is not None
            else ()
        )
        return OneShotWorkers(table, folder, tools, level)

    def _pool(self, table: ProcessTable, abilities: Abilities, level: Level) -> Pool:
        return Pool(
            table,
            abilities,
            level,
            size=self._options.size,
            warm=self._options.warm,
            kept_sessions=self._options.kept_sessions,
            limits=self._options.limits,
            share=self._options.share,
            suspended=self._options.suspended,
            suspended_idle=self._options.suspended_idle,
            cost_request=self._options.cost_request,
        )
