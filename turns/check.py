"""Holds the answer of one try against the form that was asked for."""

from __future__ import annotations

from collections.abc import Sequence

from turns.answer import AnswerFormat
from turns.model import TextDelta, TurnDone, TurnEvent

# An answer that was cut off has no form to be held to: its finish reason says so.
_WHOLE = frozenset({"end_turn", "stop_sequence"})


class AnswerCheck:
    """Events in, events out. Text that has a schema passes as it comes; a JSON object is held to the end,
    since its fences come off. `form` None: everything passes."""

    def __init__(self, form: AnswerFormat | None) -> None:
        self._form = form
        self._texts: list[str] = []

    def feed(self, event: TurnEvent) -> Sequence[TurnEvent]:
        """What becomes of an event. Raises InvalidAnswer at the end of an answer without the form."""
        form = self._form
        if form is None:
            return (event,)
        if isinstance(event, TextDelta):
            self._texts.append(event.text)
            return (event,) if form.schema is not None else ()
        if not isinstance(event, TurnDone):
            return (event,)
        text = "".join(self._texts)
        checked = form.checked(text) if event.stop_reason in _WHOLE else text
        return (event,) if form.schema is not None or not checked else (TextDelta(checked), event)
