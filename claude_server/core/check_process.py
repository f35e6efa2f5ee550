"""Checks an answer against an expensive schema, in a process with limits.

A schema may refer to its own parts again and again, so that a few lines ask for endless work. In a process of
its own, such a check ends with the process.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from claude_server.core.answer_check import AnswerChecker
from claude_server.core.answer_format import AnswerFormat
from claude_server.core.errors import InvalidAnswer, Overloaded
from claude_server.core.model import TurnEvent
from claude_server.descriptors import check_room_for_start

_ROOT = Path(__file__).resolve().parents[2]
# By a path of its own: the environment may keep Python from looking into its working folder.
_PROGRAM = (
    "import sys; sys.path[:0] = sys.argv[1:]; from claude_server.core.check_process import main; main()"
)
# Limits of the process: seconds of wall clock and CPU, bytes of memory. An honest check takes milliseconds.
_TIMEOUT = 10.0
_MAX_CPU_SECONDS = 5
_MAX_MEMORY = 2 * 1024**3


async def check_event(check: AnswerChecker, event: TurnEvent) -> Sequence[TurnEvent]:
    """Feed an event to the checker, after a check in a process if it is expensive. Raises InvalidAnswer, and
    Overloaded if no process can be started."""
    text = check.pending_text(event)
    if text is not None and check.form is not None:
        await _check_in_process(check.form, text)
    return check.feed(event)


async def _check_in_process(form: AnswerFormat, text: str) -> None:
    try:
        check_room_for_start()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _PROGRAM, str(_ROOT)),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            # Ctrl-C in the terminal is the server's: turns that run are let finish.
            start_new_session=True,
        )
    except OSError as error:
        raise Overloaded(f"The system can't start another process: {error}.", retry_after=1.0) from error
    said = b""
    try:
        given = json.dumps([form.schema, text]).encode()
        said, _ = await asyncio.wait_for(process.communicate(given), _TIMEOUT)
    except asyncio.TimeoutError:
        pass
    finally:
        # Synchronous, since the turn may be being cancelled; the event loop reaps the process.
        with suppress(ProcessLookupError):
            process.kill()
    if not said:
        await process.wait()
        raise InvalidAnswer("It takes too long to hold the model's answer against the schema.")
    if problem := json.loads(said):
        raise InvalidAnswer(problem)


def main() -> None:
    """The process's main: reads [schema, answer] as JSON, writes the problem as a JSON string, or null."""
    bounds = (
        (resource.RLIMIT_CPU, _MAX_CPU_SECONDS),
        (resource.RLIMIT_AS, _MAX_MEMORY),
        (resource.RLIMIT_CORE, 0),
    )
    for kind, most in bounds:
        # Not every system has each of them; the clock is looked at outside.
        with suppress(ValueError, OSError):
            resource.setrlimit(kind, (most, most))
    schema, text = json.load(sys.stdin)
    problem = None
    try:
        AnswerFormat(schema).validated(text, light=False)
    except InvalidAnswer as error:
        problem = error.message
    json.dump(problem, sys.stdout)
