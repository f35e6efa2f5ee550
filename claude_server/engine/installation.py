"""The installed binary over time: found, looked at, and replaced once the file is another one.

There is at most one *probe* at a time: it looks at the binary and makes an engine of it. It is due when no
turn can succeed, or when the file has changed. After a failure it waits, longer each time, unless another
file has been put in place. An engine that is replaced lives on until its turns have ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from claude_server.core.errors import NotReady, TurnError
from claude_server.engine.binary import BinaryEngine, EngineBuilder, EngineOptions
from claude_server.engine.discovery.probe import CliInfo
from claude_server.engine.discovery.retest import AbilityKeeper
from claude_server.engine.processes.sweep import kill_owned
from claude_server.engine.workers.worker import Backoff, monotonic


class Installation:
    """The engine of the binary that `name` stands for. `engine` None: there is none yet. `problem`: why the
    last probe failed. `looked_at` hears of each new engine."""

    def __init__(
        self,
        name: str,
        state_dir: Path,
        environ: Mapping[str, str],
        options: EngineOptions,
        looked_at: Callable[[BinaryEngine], None],
    ) -> None:
        self.name = name
        self.engine: BinaryEngine | None = None
        self.problem: str | None = "The claude CLI has not been looked at yet."
        self._builder = EngineBuilder(name, state_dir, environ, options)
        self._looked_at = looked_at
        self._keeper = AbilityKeeper(state_dir, environ.get("PATH", ""), self.is_idle, self._renew)
        self._probe_task: asyncio.Task[None] | None = None
        self._old: list[BinaryEngine] = []
        self._backoff = Backoff()
        self._failed_signature = ""

    @property
    def engines(self) -> tuple[BinaryEngine, ...]:
        """Engines of replaced binaries whose turns still run, then that of the installed binary."""
        return (*self._old, *([self.engine] if self.engine else ()))

    def current(self) -> BinaryEngine | None:
        """The engine of the installed binary; None if there is none yet, or the binary was replaced."""
        engine = self.engine
        if engine is None or not engine.is_installed:
            return None
        self.problem = None
        return engine

    def note_login(self, engine: BinaryEngine, info: CliInfo) -> bool:
        """`engine` has told anew who is logged in. Is it still the one that serves?"""
        if engine is not self.engine:
            return False
        self.engine = replace(engine, info=info)
        return True

    # Probing

    async def start(self) -> None:
        """Probe the CLI and warm up; `engine` and `problem` show the result."""
        self._start_probe()
        assert self._probe_task is not None
        # If the start is cancelled, close() ends the probe.
        await asyncio.shield(self._probe_task)

    def probe_if_due(self) -> bool:
        """Start a probe if there is no engine and its backoff is over. False: it isn't."""
        if self.current() is not None:
            return True
        if self.problem is not None and not self._may_probe():
            return False
        self._start_probe()
        return True

    async def probed(self) -> BinaryEngine:
        """The engine, after the end of the probe that runs. Raises NotReady."""
        assert self._probe_task is not None
        await asyncio.shield(self._probe_task)
        if self.engine is None or self.problem is not None:
            raise NotReady(self.problem or "The claude CLI was not found.")
        return self.engine

    def _start_probe(self) -> None:
        if self._probe_task is None or self._probe_task.done():
            self._probe_task = asyncio.get_running_loop().create_task(self._probe())

    async def _probe(self) -> None:
        try:
            fresh = await self._builder.build(self._keeper)
        except TurnError as error:
            self._probe_failed(error.message)
            return
        except OSError as error:
            # For example a full disk: the probe needs room for its own files.
            self._probe_failed(f"The claude CLI can't be looked at: {error}.")
            return
        self._backoff.reset()
        replaced, self.engine, self.problem = self.engine, fresh, None
        self._looked_at(fresh)
        if replaced is not None:
            # Its running turns end on it; its idle workers go now.
            self._old = [*(old for old in self._old if len(old.table)), replaced]
            await replaced.pool.close()
            await replaced.counting.pool.close()
        await fresh.pool.warm_up()

    def _probe_failed(self, problem: str) -> None:
        self.problem = problem
        self._backoff.failed(monotonic())
        self._failed_signature = self._builder.installed_signature()

    def _may_probe(self) -> bool:
        return (
            not self._backoff.remaining(monotonic())
            or self._builder.installed_signature() != self._failed_signature
        )

    async def _renew(self) -> bool:
        """Replace the binary's engine by one that uses what is known of it now. False: that failed."""
        await self.start()
        return self.problem is None

    def is_idle(self) -> bool:
        """Does no turn run, and is no process being started? Whoever probes starts some."""
        probing = self._probe_task is not None and not self._probe_task.done()
        return not probing and all(engine.is_idle for engine in self.engines)

    async def close(self) -> None:
        """End every process; returns when none is left."""
        tasks = [task for task in (self._keeper.task, self._probe_task) if task is not None]
        # All before the first wait: one may start the other.
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for engine in self.engines:
            await engine.pool.close()
            await engine.one_shot.close()
            await engine.counting.pool.close()
            await engine.table.close()
        await asyncio.to_thread(kill_owned)
