"""Talking to a process outside of a turn: its greeting, the self-test."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from claude_server.core.errors import CliFailed, TurnError, TurnTimeout
from claude_server.core.model import Tool, TurnEvent
from claude_server.engine.processes.process import CliProcess
from claude_server.engine.protocol.control import Dialogue, Step
from claude_server.engine.protocol.events import TurnTranslator
from claude_server.engine.protocol.failures import error_from_exit
from claude_server.engine.protocol.frames import Frame

# What a frame of an unknown shape may raise in whoever reads it; the last two: a time that is none.
MALFORMED_FRAME = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, OSError)
# What is a text in every event that has it.
_TEXT_FIELDS = ("text", "model", "id", "name")


def malformed_frame(frame: Frame, error: Exception) -> CliFailed:
    """The error for a known frame in an unknown shape: this CLI isn't one we understand."""
    return CliFailed(f"The claude CLI sent a {frame['type']} line that makes no sense: {error!r}")


def check_texts(events: Sequence[TurnEvent]) -> Sequence[TurnEvent]:
    """The events, whose texts are texts. Raises TypeError: later it would be the server's own mistake."""
    for event in events:
        for name in _TEXT_FIELDS:
            if not isinstance(getattr(event, name, ""), str):
                raise TypeError(f"{type(event).__name__}.{name} is no text")
    return events


class StepRunner:
    """Runs steps on one process, one batch at a time."""

    def __init__(self, process: CliProcess) -> None:
        self._process = process
        self._dialogue: Dialogue | None = None
        self._over = asyncio.Event()
        self._error: TurnError | None = None
        process.listener = self

    def frame(self, frame: Frame) -> None:
        """A frame of the process."""
        if self._dialogue is None:
            return
        try:
            data, _ = self._dialogue.receive(frame)
            self._process.write(data)
        except TurnError as error:
            self._error = error
        except MALFORMED_FRAME as error:
            self._error = malformed_frame(frame, error)
        if self._error is not None or self._dialogue.done:
            self._over.set()

    def ended(self, problem: str | None) -> None:
        """The process ended."""
        if problem is not None:
            self._error = CliFailed(f"The claude CLI {problem}.")
        else:
            self._error = error_from_exit(self._process.returncode, self._process.stderr)
        self._over.set()

    async def run(self, steps: Sequence[Step], within: float, tools: Sequence[Tool] = ()) -> Sequence[Frame]:
        """Run the steps to their end; the answers to their control requests. `tools` are listed to the
        process when it asks. Raises TurnError."""
        return await self.talk(Dialogue(steps, TurnTranslator(), tools), within)

    async def talk(self, dialogue: Dialogue, within: float) -> Sequence[Frame]:
        """The same for a dialogue of the caller's."""
        if self._process.ended:
            self.ended(None)
        if self._error is not None:
            raise self._error
        self._over.clear()
        self._dialogue = dialogue
        self._process.write(dialogue.start())
        try:
            await asyncio.wait_for(self._over.wait(), within)
        except asyncio.TimeoutError:
            raise TurnTimeout(f"The claude CLI didn't answer within {within:g} s.") from None
        if self._error is not None:
            raise self._error
        return dialogue.answers
