"""A long run at a terminal: what it shows meanwhile, and how it is stopped."""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import ParamSpec, TypeVar

from lab.bench.goals import Goal
from lab.bench.programs import ROOT, BenchError

P = ParamSpec("P")
T = TypeVar("T")


def exit_status(main: Callable[P, int]) -> Callable[P, int]:
    """A command line whose errors, and whose being stopped, are told in a sentence and a status."""

    @functools.wraps(main)
    def told(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return main(*args, **kwargs)
        except BenchError as error:
            print(error, file=sys.stderr)
            return 1
        except (asyncio.CancelledError, KeyboardInterrupt):
            print("\nStopped; nothing was written.", file=sys.stderr)
            return 130

    return told


class Progress:
    """One line at a terminal; elsewhere nothing."""

    def __init__(self, head: str = "") -> None:
        self._head = head
        self._shown = sys.stderr.isatty()

    def __call__(self, text: str) -> None:
        if self._shown:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\x1b[K{(self._head + text)[:width]}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def out_folder(named: Path | None, *, quick: bool) -> Path:
    """Where the figures go. Those of a quick run must not replace those of a real one."""
    return named or ROOT / (".cache/bench/quick" if quick else "docs/bench")


def tell(found: Iterable[tuple[str, Iterable[Goal]]], *written: Path) -> None:
    """Print what became of the goals, by version of the CLI, and what was written."""
    for version, goals in found:
        print(f"\nCLI {version}")
        for goal in goals:
            print(f"  {goal.text}: {goal.measured or '-'}: {goal.verdict}")
    print(f"\nWritten: {', '.join(map(str, written))}")


def run_in_a_folder(prefix: str, run: Callable[[Path], Awaitable[T]]) -> T:
    """`run` in an event loop and a temporary folder. Ctrl-C and SIGTERM end it in order: every process, then
    the folder; then asyncio.CancelledError is raised."""
    # The real path: newer CLIs print their folder into the request.
    temp = os.path.realpath(tempfile.gettempdir())
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True, dir=temp) as folder:
        return asyncio.run(_stoppable(run, Path(folder)))


async def _stoppable(run: Callable[[Path], Awaitable[T]], folder: Path) -> T:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, task.cancel)
    return await run(folder)
