"""What the installed CLI can do: kept in a file, tried out where it isn't known, and again until it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import structlog

from claude_server.core.errors import NotReady, TurnError
from claude_server.engine.discovery import selftest
from claude_server.engine.processes.binary_cache import signature_of
from claude_server.engine.processes.table import private_folder
from claude_server.engine.workers.state import Abilities

log = structlog.get_logger("claude_cli")

# Seconds between two tries.
_FIRST_PAUSE = 30.0
_LONGEST_PAUSE = 600.0
# Seconds after which it is looked again whether turns run: a try takes the processors from them.
_LOOK_EVERY = 1.0


def pauses() -> Iterator[float]:
    """Seconds to wait before each further try."""
    pause = _FIRST_PAUSE
    while True:
        yield pause
        pause = min(_LONGEST_PAUSE, 2 * pause)


class AbilityKeeper:
    """Finds out abilities, and keeps them in `state_dir`. Doubtful ones are tried again in the background.

    `path`: the PATH that the CLI may need. `idle`: does no turn run? `renew`: has what is known for sure put
    to use; False if that failed.
    """

    def __init__(
        self, state_dir: Path, path: str, idle: Callable[[], bool], renew: Callable[[], Awaitable[bool]]
    ) -> None:
        self._state_dir = state_dir
        self._path = path
        self._idle = idle
        self._renew = renew
        # Whoever closes the engine cancels it.
        self.task: asyncio.Task[None] | None = None

    async def abilities(self, binary: str, signature: str) -> Abilities:
        """What this binary can do, as far as it is known. Takes some seconds for one that isn't known yet.
        Raises NotReady and OSError."""
        store = selftest.AbilityStore(private_folder(self._state_dir) / "abilities.json")
        known = store.load(signature)
        if known is not None:
            return known
        if self.task is not None:
            # Of another binary, or what is to be done at once now.
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
        log.info("trying out the claude CLI; this takes some seconds, whenever another one is installed")
        found, sure = await self._try_out(store, binary, signature)
        if not sure:
            log.warning(
                "the claude CLI was too slow to be tried out to the end: what wasn't seen to work isn't "
                "used; it is tried again in the background, whenever no turn runs, until it is known",
                level=found.level,
            )
            again = self._until_sure(store, binary, signature, found)
            self.task = asyncio.get_running_loop().create_task(again)
        return found

    async def _try_out(
        self, store: selftest.AbilityStore, binary: str, signature: str
    ) -> tuple[Abilities, bool]:
        found, sure = await selftest.run(binary, self._path)
        if signature_of(binary) != signature:
            # What was found is partly true of one, partly of the other.
            raise NotReady("The claude CLI was replaced by another one while it was tried out.")
        if sure:
            store.save(signature, found)
        return found, sure

    async def _until_sure(
        self, store: selftest.AbilityStore, binary: str, signature: str, doubtful: Abilities
    ) -> None:
        further = pauses()
        wait = next(further)
        while True:
            await asyncio.sleep(wait)
            if signature_of(binary) != signature:
                # Another one: the next turn has it tried out.
                return
            if not self._idle():
                wait = _LOOK_EVERY
                continue
            try:
                if await self._settled(store, binary, signature, doubtful):
                    return
            except (TurnError, OSError) as error:
                log.warning("the claude CLI can't be tried out", problem=str(error))
            wait = next(further)

    async def _settled(
        self, store: selftest.AbilityStore, binary: str, signature: str, doubtful: Abilities
    ) -> bool:
        """Try once more. Is it known for sure now, and put to use?"""
        # It is known already where only its use failed.
        found, sure = store.load(signature), True
        if found is None:
            found, sure = await self._try_out(store, binary, signature)
        if not sure or (found != doubtful and not await self._renew()):
            return False
        log.info("the claude CLI has been tried out to the end", level=found.level)
        return True
