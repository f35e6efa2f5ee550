"""Runs in a client's environment: cases come in over standard input, a line of JSON each, and so go results.

Standard output is kept for that; what a library prints there goes to standard error.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any


def serve(cases: dict[str, Callable[..., Any]]) -> None:
    """Answer until the input ends. A case may be a coroutine function; its result must be JSON."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        for line in sys.stdin:
            asked = json.loads(line)
            try:
                result = cases[asked["case"]](**asked["arguments"])
                if inspect.isawaitable(result):
                    result = loop.run_until_complete(result)
                text = json.dumps({"result": result})
            except Exception:
                text = json.dumps({"failure": traceback.format_exc()})
            print(text, file=answers, flush=True)
