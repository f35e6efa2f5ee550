"""Only one process may serve an application."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys

import psutil
from uvicorn.config import STARTUP_FAILURE

_REASON = (
    "Several workers are refused: each would have its own turns at a time, its own queue, its own claude "
    "processes and its own rate limits, so that none of the settings would hold. One process serves many "
    "requests at a time: leave --workers and WEB_CONCURRENCY out, and set CLAUDE_MAX_CONCURRENCY."
)


def refuse_multiple_workers() -> None:
    """End this process, if uvicorn started it as one of several.

    The status is the one that makes uvicorn end the others too.
    """
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid is None:
        return
    with contextlib.suppress(psutil.Error):
        for other in psutil.Process(parent.pid).children():
            # This is how multiprocessing marks the processes that it spawns to work.
            if other.pid != os.getpid() and "--multiprocessing-fork" in other.cmdline():
                print(_REASON, file=sys.stderr, flush=True)
                raise SystemExit(STARTUP_FAILURE)
