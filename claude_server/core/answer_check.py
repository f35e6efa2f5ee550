"""Checks the answer of one attempt against the requested format."""

from __future__ import annotations

from collections.abc import Sequence

from claude_server.core.answer_format import AnswerFormat
from claude_server.core.model import TextDelta, TurnDone, TurnEvent

# A truncated answer is not checked: its finish reason says that it is incomplete.
_COMPLETE = frozenset({"end_turn", "stop_sequence"})


class AnswerChecker:
    """Events in, events out. Text with a schema passes as it comes; a JSON object is held until the end,
    where its code fences are removed. `form` None: everything passes."""

    def __init__(self, form: AnswerFormat | None) -> None:
        self.form = form
        self._texts: list[str] = []

    def feed(self, event: TurnEvent) -> Sequence[TurnEvent]:
        """The events to pass on for one event. Raises InvalidAnswer at the end of an answer that doesn't have
        the format, unless `pending_text` gave its text: that one was checked already."""
        form = self.form
        if form is None:
            return (event,)
        if isinstance(event, TextDelta):
            self._texts.append(event.text)
            return (event,) if form.schema is not None else ()
        if not isinstance(event, TurnDone):
            return (event,)
        text = "".join(self._texts)
        validated = form.validated(text) if self._is_complete(event) and not form.is_expensive(text) else text
        return (event,) if form.schema is not None or not validated else (TextDelta(validated), event)

    def pending_text(self, event: TurnEvent) -> str | None:
        """The text of the answer that this event ends, if its check may take long: it must be checked in a
        process before the event is fed."""
        if self.form is None or not self._is_complete(event):
            return None
        text = "".join(self._texts)
        return text if self.form.is_expensive(text) else None

    @staticmethod
    def _is_complete(event: TurnEvent) -> bool:
        return isinstance(event, TurnDone) and event.stop_reason in _COMPLETE
