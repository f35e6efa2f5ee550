"""The last resort: one `claude -p --output-format json` a turn, text in, one JSON answer out. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from claude_server.core.model import Message, TextDelta, TurnEvent, TurnStarted
from claude_server.engine.protocol.control import transcript_text
from claude_server.engine.protocol.events import TurnTranslator
from claude_server.engine.protocol.frames import Frame, escape_command


class PlainDialogue:
    """Writes the prompt, reads the one result."""

    closes_input = True

    def __init__(self, history: Sequence[Message], question: Message, translator: TurnTranslator) -> None:
        text = transcript_text(history, question) if history else "\n".join(question.texts)
        self._text = escape_command(text)
        self._translator = translator

    def start(self) -> bytes:
        """The whole input."""
        return self._text.encode("utf-8", "replace")

    def receive(self, frame: Frame) -> tuple[bytes, Sequence[TurnEvent]]:
        """The events of the result. Raises TurnError."""
        if frame["type"] != "result" or self._translator.done:
            return b"", ()
        if frame.get("is_error") or not frame.get("num_turns"):
            return b"", self._translator.translate(frame)
        model = next(iter(frame.get("modelUsage") or {}), "")
        message = {"model": model or "unknown", "usage": frame.get("usage")}
        # No event is named that a session could be resumed at: it is resumed at its end.
        self._translator.mark = ""
        started = {"type": "stream_event", "event": {"type": "message_start", "message": message}}
        events: list[TurnEvent] = [*self._translator.translate(started)]
        assert isinstance(events[0], TurnStarted)
        return b"", [*events, TextDelta(str(frame.get("result") or "")), *self._translator.translate(frame)]
