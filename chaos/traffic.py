"""What clients ask, and what must come of it. Pure: a seed gives the same questions."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chaos.marks import mark, text_of

MODELS = ("sonnet", "opus", "haiku")
_SESSION_TURNS = (2, 8)
_BIG = (100_000, 600_000)
# Small enough that any answer is longer: the API stops there.
_TIGHT_LIMIT = 7
_CUT_CHARS = 24
Said = tuple[tuple[str, str], ...]


@dataclass
class Turn:
    """A turn of a session. `answered` None: whether the server counts it can't be known."""

    said: Said
    answered: bool | None = False


@dataclass
class Talk:
    """A session as its client knows it. `doubtful`: something happened that may have cost it its memory."""

    name: str
    system: str
    sends_all: bool
    turns: list[Turn] = field(default_factory=list)
    doubtful: bool = False
    asked: int = 0

    def history(self) -> Said:
        """What a client that sends everything sends: all that was surely answered."""
        return tuple(pair for turn in self.turns if turn.answered for pair in turn.said)

    def goes_on(self, before: Said) -> bool:
        """Is `before` this conversation as it may stand: all that was answered, nothing that failed?"""
        left = list(before)
        for turn in self.turns:
            size = len(turn.said)
            if left[:size] == list(turn.said) and turn.answered is not False:
                del left[:size]
            elif turn.answered:
                return False
        return not left

    def made_again(self, with_: Said) -> None:
        """The server lost it: what its last turn brought along and that turn are all that it holds now."""
        self.turns = [*([Turn(with_, True)] if with_ else []), self.turns[-1]]


@dataclass(frozen=True)
class Question:
    """One request.

    name: its mark, in every text of it. before: the earlier messages that it brings along. reply: the text
    that the API answers, `cut` characters of it if the limit is tight. leaves_after: seconds until its
    client hangs up; None: it stays.
    """

    name: str
    kind: str
    body: Mapping[str, Any]
    before: Said
    asked: str
    system: str
    reply: str
    cut: int | None = None
    leaves_after: float | None = None
    reads_slowly: bool = False
    talk: Talk | None = None

    @property
    def streamed(self) -> bool:
        return bool(self.body["stream"])

    @property
    def answer(self) -> str:
        """What the client must get."""
        return self.reply[: self.cut]

    @property
    def finish(self) -> str:
        return "stop" if self.cut is None else "length"


class Client:
    """Asks one question after the other; `leaving`: how often it hangs up before the end, 0 to 1."""

    def __init__(self, seed: str, number: int, leaving: float) -> None:
        self._rng = random.Random(f"{seed} client {number}")
        self._number = number
        self._leaving = leaving
        self._asked = 0
        self._talk: Talk | None = None

    def next(self, kind: str | None = None) -> Question:
        """The next question: of this kind, or of one that is drawn."""
        self._asked += 1
        drawn = self._rng.choices(list(_KINDS), [weight for weight, _ in _KINDS.values()])[0]
        return _KINDS[kind or drawn][1](self, kind or drawn)

    def _plain(self, kind: str, *, size: int = 200, earlier: int = 0, **more: Any) -> Question:
        rng = self._rng
        conversation = f"{self._number}-{self._asked}"
        name = mark(conversation, 0)
        before = tuple(
            (role, text_of(mark(conversation, number + 1), f"earlier {role}", rng.randint(20, 400)))
            for number in range(earlier)
            for role in ("user", "assistant")
        )
        system = text_of(name, "system", 40) if rng.random() < 0.6 else ""
        return self._question(name, kind, before, system, size, **more)

    def _question(
        self,
        name: str,
        kind: str,
        before: Said,
        system: str,
        size: int,
        *,
        talk: Talk | None = None,
        **more: Any,
    ) -> Question:
        rng = self._rng
        asked = text_of(name, "question", size)
        sent = before if talk is None or talk.sends_all else ()
        messages = [{"role": role, "content": text} for role, text in (*sent, ("user", asked))]
        if system:
            messages.insert(0, {"role": rng.choice(("system", "developer")), "content": system})
        body: dict[str, Any] = {
            "model": rng.choice(MODELS) if talk is None else MODELS[talk.asked // 3 % len(MODELS)],
            "messages": messages,
            "stream": rng.random() < 0.6,
            **more,
        }
        if rng.random() < 0.1:
            body["reasoning_effort"] = rng.choice(("low", "high"))
        cut = None
        if body.get("max_tokens") == _TIGHT_LIMIT:
            cut = _CUT_CHARS
        return Question(
            name=name,
            kind=kind,
            body=body,
            before=sent,
            asked=asked,
            system=system,
            reply=text_of(name, "answer", rng.choice((60, 300, 300, 3000))),
            cut=cut,
            leaves_after=rng.uniform(0.0, 0.6) if rng.random() < self._leaving else None,
            reads_slowly=rng.random() < 0.03,
            talk=talk,
        )

    def _short(self, kind: str) -> Question:
        return self._plain(kind)

    def _buffered(self, kind: str) -> Question:
        return self._plain(kind, stream=True, stream_mode="buffered")

    def _history(self, kind: str) -> Question:
        return self._plain(kind, earlier=self._rng.randint(1, 12))

    def _big(self, kind: str) -> Question:
        return self._plain(kind, size=self._rng.randint(*_BIG))

    def _limited(self, kind: str) -> Question:
        return self._plain(kind, max_tokens=self._rng.randint(1000, 4000))

    def _tight(self, kind: str) -> Question:
        return self._plain(kind, max_completion_tokens=None, max_tokens=_TIGHT_LIMIT)

    def _session(self, kind: str) -> Question:
        rng = self._rng
        talk = self._talk
        if talk is None or talk.asked >= rng.randint(*_SESSION_TURNS):
            name = f"{self._number}-{self._asked}s"
            talk = self._talk = Talk(name, text_of(mark(name, 0), "system", 40), rng.random() < 0.5)
        talk.asked += 1
        turn = mark(talk.name, talk.asked)
        question = self._question(
            turn, kind, talk.history(), talk.system, 200, talk=talk, session_id=f"chaos {talk.name}"
        )
        talk.turns.append(Turn((("user", question.asked), ("assistant", question.answer))))
        return question


# Kind to (weight, maker).
_KINDS: Mapping[str, tuple[int, Callable[[Client, str], Question]]] = {
    "short": (40, Client._short),
    "buffered": (10, Client._buffered),
    "history": (16, Client._history),
    "session": (22, Client._session),
    "big": (4, Client._big),
    "limited": (4, Client._limited),
    "cut short": (4, Client._tight),
}
KINDS: tuple[str, ...] = tuple(_KINDS)
