"""What clients ask, and what must come of it. Pure: a seed gives the same questions."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lab.chaos.marks import mark, text_of

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
    client hangs up; None: it stays. tools: the names of the tools that it offers. call: the arguments with
    which the API calls the first of them, instead of a text. result: what a tool said before. form: the
    object that the API answers with, where a schema is asked for.
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
    tools: tuple[str, ...] = ()
    call: Mapping[str, Any] | None = None
    result: str | None = None
    form: Mapping[str, Any] | None = None

    @property
    def streamed(self) -> bool:
        return bool(self.body["stream"])

    @property
    def answer(self) -> str:
        """The text that the client must get."""
        if self.form is not None:
            return json.dumps(self.form, separators=(",", ":"), ensure_ascii=False)
        return "" if self.call is not None else self.reply[: self.cut]

    @property
    def finish(self) -> str:
        if self.call is not None:
            return "tool_calls"
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

    def _tools(self, kind: str) -> Question:
        """The model calls a tool of two."""
        made = self._plain(kind)
        names = self._tool_names(made)
        call = {"text": text_of(made.name, "call", 80), "number": self._asked}
        return replace(made, tools=names, call=call, body={**made.body, "tools": [_tool(n) for n in names]})

    def _result(self, kind: str) -> Question:
        """What the tool said comes back; the model answers."""
        made = self._plain(kind)
        (name, *_) = names = self._tool_names(made)
        arguments = json.dumps({"text": text_of(made.name, "earlier call", 40)})
        called = {"id": f"call_{self._asked}", "type": "function"}
        call = {**called, "function": {"name": name, "arguments": arguments}}
        result = text_of(made.name, "result", 200)
        messages = [
            *made.body["messages"],
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": called["id"], "content": result},
        ]
        body = {**made.body, "messages": messages, "tools": [_tool(n) for n in names]}
        return replace(made, tools=names, result=result, body=body)

    def _tool_names(self, made: Question) -> tuple[str, ...]:
        # In the order of the alphabet, in which the CLI lists them.
        return tuple(f"{verb}_{self._number}_{self._asked}" for verb in ("find", "look"))

    def _schema(self, kind: str) -> Question:
        made = self._plain(kind)
        form = {"text": text_of(made.name, "form", 120), "number": self._asked}
        wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": _SCHEMA}}
        return replace(made, form=form, body={**made.body, "response_format": wanted})

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


_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "number": {"type": "integer"}},
    "required": ["text", "number"],
    "additionalProperties": False,
}


def _tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": "Looks.", "parameters": _SCHEMA}}


# Kind to (weight, maker).
_KINDS: Mapping[str, tuple[int, Callable[[Client, str], Question]]] = {
    "short": (40, Client._short),
    "buffered": (10, Client._buffered),
    "history": (16, Client._history),
    "session": (22, Client._session),
    "big": (4, Client._big),
    "limited": (4, Client._limited),
    "cut short": (4, Client._tight),
    "tools": (8, Client._tools),
    "tool result": (5, Client._result),
    "schema": (6, Client._schema),
}
KINDS: tuple[str, ...] = tuple(_KINDS)
