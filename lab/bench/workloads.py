"""What is asked. Every question holds a number of its own, so that no two requests are the same."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

MODEL = "sonnet"
SYSTEM = "You are concise."
HISTORY_TURNS = 20
# Turns of one conversation that are measured on a worker that holds it.
HELD_TURNS = 10
_SENTENCE = "The quick brown fox jumps over the lazy dog and then rests in the warm shade of the old oak. "
_SHORT_REPLY = (
    "A short answer of some hundred characters, so that it comes as a handful of deltas, not as one."
)
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Turn:
    """A question and the (question, answer) pairs before it."""

    question: str
    history: tuple[tuple[str, str], ...] = ()


class LoadClient(Protocol):
    """One client: what it asks next, and whether that counts."""

    def next(self) -> tuple[Turn, bool]: ...

    def answered(self, text: str) -> None: ...


@dataclass
class FreshQuestions:
    """Asks a fresh question each time: `size` characters, after `turns` earlier turns that are new too."""

    size: int = 0
    turns: int = 0

    def next(self) -> tuple[Turn, bool]:
        number = next(_numbers)
        text = f"Question {number}: what is {number} plus one?"
        return Turn(filled(text, self.size), history(number, self.turns)), True

    def answered(self, text: str) -> None:
        pass


@dataclass
class ContinuedConversation:
    """Goes on with one conversation; its first turn, which brings the history, doesn't count."""

    turns: int = HISTORY_TURNS
    measured: int = HELD_TURNS
    _past: list[tuple[str, str]] = field(default_factory=list)
    _question: str = ""
    _asked: int = 0

    def next(self) -> tuple[Turn, bool]:
        number = next(_numbers)
        if self._asked % (self.measured + 1) == 0:
            self._asked = 0
            self._past = list(history(number, self.turns))
        self._question = f"Question {number}: what is {number} plus one?"
        self._asked += 1
        return Turn(self._question, tuple(self._past)), self._asked > 1

    def answered(self, text: str) -> None:
        self._past.append((self._question, text))


@dataclass(frozen=True)
class Workload:
    """`talker` makes a client; `reply` is what the stand-in is told to answer (its control API)."""

    name: str
    title: str
    talker: Callable[[], LoadClient]
    reply: Mapping[str, Any]


def filled(text: str, size: int) -> str:
    """`text`, made `size` characters long with prose if it is shorter."""
    missing = size - len(text) - 1
    if missing <= 0:
        return text
    return f"{text} {(_SENTENCE * (missing // len(_SENTENCE) + 1))[:missing]}"


def history(number: int, turns: int) -> tuple[tuple[str, str], ...]:
    """Earlier turns that no other conversation has."""
    return tuple(
        (f"Earlier question {i} of conversation {number}: {_SENTENCE}", f"Earlier answer {i}: {_SENTENCE}")
        for i in range(1, turns + 1)
    )


_SHORT: Mapping[str, Any] = {"text": _SHORT_REPLY, "chunk_chars": 24}
_PACED: Mapping[str, Any] = {
    "text": " ".join([_SHORT_REPLY, _SHORT_REPLY]),
    "chunk_chars": 5,
    "first_delay": 0.3,
    "delay": 0.02,
}
WORKLOADS: Mapping[str, Workload] = {
    each.name: each
    for each in (
        Workload("short", "short prompt", FreshQuestions, _SHORT),
        Workload(
            "history", "20 earlier turns, new to it", lambda: FreshQuestions(turns=HISTORY_TURNS), _SHORT
        ),
        Workload("held", "20 earlier turns, just served", ContinuedConversation, _SHORT),
        Workload("large", "100 kB prompt", lambda: FreshQuestions(size=100_000), _SHORT),
        Workload("paced", "short prompt, tokens at 20 ms", FreshQuestions, _PACED),
    )
}
