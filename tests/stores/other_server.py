"""Another server on the same store: does what the lines of its input say, and answers each with a line.

Arguments: the implementation, the place. Lines are JSON: ["save", record], ["load", uuid], ["hold", name],
["release"], ["keep", entry]. It ends with its input, or killed.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from claude_server.core.entry import Entry
from claude_server.core.ports import Lock, SessionRecord
from tests.stores.implementations import IMPLEMENTATIONS

ROOT = Path(__file__).resolve().parents[2]


async def take(lock: Lock) -> None:
    await lock.acquire()


async def main(implementation: str, place: Path) -> None:
    store, locks = IMPLEMENTATIONS[implementation].store(place), IMPLEMENTATIONS[implementation].locks(place)
    await locks.open()
    await store.open()
    responses = IMPLEMENTATIONS[implementation].responses(place)
    await responses.open()
    held = AsyncExitStack()
    for line in sys.stdin:
        order, *arguments = json.loads(line)
        answer: Any = None
        if order == "save":
            await store.save(SessionRecord(**arguments[0]))
        elif order == "keep":
            await responses.save(Entry(**{**arguments[0], "item_ids": tuple(arguments[0]["item_ids"])}))
        elif order == "load":
            found = await store.load(arguments[0])
            answer = None if found is None else asdict(found)
        elif order == "hold":
            await held.enter_async_context(locks.hold(arguments[0], take))
        else:
            await held.aclose()
        print(json.dumps(answer), flush=True)
    await held.aclose()
    await responses.close()
    await store.close()
    await locks.close()


class OtherServer:
    """The process, from outside."""

    def __init__(self, implementation: str, place: Path) -> None:
        command = [sys.executable, "-m", "tests.stores.other_server", implementation, str(place)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def tell(self, *order: Any) -> None:
        """Give an order, and don't wait until it is done."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """Wait for the answer to an order that was told."""
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def ask(self, *order: Any) -> Any:
        self.tell(*order)
        return self.answer()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """Close its input; it ends in good order."""
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(30) == 0


@contextmanager
def other_server(implementation: str, place: Path) -> Iterator[OtherServer]:
    made = OtherServer(implementation, place)
    try:
        yield made
    finally:
        made.kill()
        for pipe in (made._process.stdin, made._process.stdout):
            if pipe is not None:
                pipe.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
