"""The API as the CLI meets it: compares what arrives with what was asked, answers, and makes trouble.

Runs in the stand-in's thread; the clients read what it found.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from claude_server.standin import (
    Answer,
    ApiError,
    ApiRequest,
    Block,
    Cut,
    Reply,
    Silence,
    StreamError,
    Text,
    ToolUse,
)
from lab.chaos.marks import conversations_in, first_difference, marks_in
from lab.chaos.traffic import Question, Said

# What is kept of findings: the first ones say enough.
_KEPT = 20


class Book:
    """The questions that are or were under way, by name, and what was found out about them."""

    def __init__(self) -> None:
        self.questions: dict[str, Question] = {}
        self.counts: Counter[str] = Counter()
        self.findings: list[str] = []
        # Sessions' turns: did the API see the whole conversation in the last try?
        self.went_on: dict[str, bool] = {}

    def found(self, what: str, text: str) -> None:
        """Something that must not be. `what` is how it is counted."""
        self.counts[what] += 1
        if len(self.findings) < _KEPT:
            self.findings.append(f"{what}: {text}")


class Upstream:
    """The stand-in's responder. While `troubled`, `trouble` of all requests (0 to 1) meet some; `outage`:
    the answer to everything, for as long as it is set."""

    def __init__(self, book: Book, seed: str, trouble: float) -> None:
        self.book = book
        self._seed = seed
        self._trouble = trouble
        self._tries: Counter[str] = Counter()
        self.troubled = False
        self.outage: Answer | None = None
        self.met: Counter[str] = Counter()

    def __call__(self, request: ApiRequest) -> Answer:
        question = self._asked(request)
        if question is None:
            self.book.found("strange requests", f"{request.last_user_text[:100]!r}")
            return Reply.of("Nobody asked this.")
        self._tries[question.name] += 1
        problem = self._problem(request, question)
        if problem is not None:
            what, text = problem
            self.book.found(what, f"{question.kind} {question.name}: {text}")
        outage = self.outage
        if outage is not None:
            self.met["outage"] += 1
            return outage
        rng = random.Random(f"{self._seed} {question.name} {self._tries[question.name]}")
        reply = _reply(question, request.tools, rng)
        if self.troubled and rng.random() < self._trouble:
            name = rng.choices(list(_TROUBLE), [weight for weight, _ in _TROUBLE.values()])[0]
            self.met[name] += 1
            return _TROUBLE[name][1](reply, rng)
        return reply

    def _asked(self, request: ApiRequest) -> Question | None:
        """The question behind a request: its name is in the last message of a user that has one."""
        for role, text in reversed(request.conversation):
            names = marks_in(text) if role == "user" else []
            if names:
                return self.book.questions.get(names[0])
        return None

    def _problem(self, request: ApiRequest, question: Question) -> tuple[str, str] | None:
        """What arrived and isn't what was asked: how it is counted, and more about it."""
        conversation = question.name[2:-1].rpartition(".")[0]
        others = conversations_in(request.raw.decode()) - {conversation}
        if others:
            return "cross-talk upstream", f"it holds texts of {sorted(others)[:3]}"
        # After a change of the model newer CLIs add a message of their own, in the system's role.
        said: Said = tuple((role, text) for role, text in request.conversation if role != "system")
        asked = next((i for i, (_, text) in enumerate(said) if text == question.asked), None)
        if asked is None:
            last = request.last_user_text
            return "wrong requests upstream", f"the question differs {first_difference(last, question.asked)}"
        after = said[asked + 1 :]
        if after and not question.answer.startswith(after[0][1]):
            # After an answer that met its limit or broke off the CLI asks to go on, before it can be stopped.
            return "wrong requests upstream", f"after the question: {_names(after)}"
        if not self._context_fits(question, said[:asked]):
            return "wrong requests upstream", f"the messages before differ: {_names(said[:asked])}"
        wrong = _wrong_parameters(request, question) or _wrong_tools(request, question)
        return ("wrong requests upstream", wrong) if wrong else None

    def _context_fits(self, question: Question, before: Said) -> bool:
        if question.talk is None:
            return before == question.before
        went_on = question.talk.goes_on(before)
        self.book.went_on[question.name] = went_on
        return went_on or before == question.before


def _names(said: Said) -> list[str]:
    return [f"{role} {text[:60]!r}" for role, text in said]


def _wrong_parameters(request: ApiRequest, question: Question) -> str | None:
    if question.system and question.system not in request.system_texts:
        return "the system prompt differs"
    wanted = question.body.get("max_tokens")
    if wanted is not None and request.body.get("max_tokens") != wanted:
        return f"max_tokens is {request.body.get('max_tokens')}, not {wanted}"
    if question.body["model"] not in request.model:
        return f"the model is {request.model}, not {question.body['model']}"
    return None


def _wrong_tools(request: ApiRequest, question: Question) -> str | None:
    # A schema is asked for by a tool of the server's own.
    if question.form is None and tuple(request.tools) != question.tools:
        return f"the tools are {request.tools}, not {list(question.tools)}"
    if question.result is not None and question.result not in _results(request):
        return "the tool's result differs"
    return None


def _results(request: ApiRequest) -> list[str]:
    """The texts of all tool results."""
    blocks = [b for m in request.messages if isinstance(m["content"], list) for b in m["content"]]
    contents = [b.get("content") for b in blocks if b.get("type") == "tool_result"]
    return [c if isinstance(c, str) else "".join(b.get("text", "") for b in c or ()) for c in contents]


def _blocks(question: Question, tools: Sequence[str]) -> list[Block]:
    if question.call is not None:
        return [ToolUse(question.tools[0], question.call)]
    if question.form is not None and tools:
        return [ToolUse(tools[0], question.form)]
    return [Text(question.answer)]


def _reply(question: Question, tools: Sequence[str], rng: random.Random) -> Reply:
    stops = "end_turn" if question.call is None and question.form is None else "tool_use"
    return Reply(
        _blocks(question, tools),
        stop_reason=stops if question.cut is None else "max_tokens",
        first_delay=rng.choice((0.0, 0.05, 0.3)),
        delay=rng.choice((0.0, 0.0, 0.002, 0.01)),
        chunk_chars=rng.choice((8, 40, 400)),
    )


def _slow(reply: Reply, rng: random.Random) -> Reply:
    """Some seconds long: most faults from outside fall into such answers."""
    return replace(reply, delay=0.05, chunk_chars=8)


def _at(rng: random.Random) -> int:
    return rng.choice((0, 1, 20, 60, 300))


_Make = Callable[[Reply, random.Random], Answer]
# Name to (weight, maker).
_TROUBLE: Mapping[str, tuple[int, _Make]] = {
    "529": (12, lambda reply, rng: ApiError.overloaded()),
    "500": (8, lambda reply, rng: ApiError.server_error()),
    "429": (8, lambda reply, rng: ApiError.rate_limited(rng.randint(0, 1))),
    "401": (2, lambda reply, rng: ApiError.unauthorized()),
    "no answer": (8, lambda reply, rng: Cut(reply, None)),
    "cut": (20, lambda reply, rng: Cut(reply, _at(rng))),
    "error in the stream": (16, lambda reply, rng: StreamError(reply, _at(rng))),
    "silent": (4, lambda reply, rng: Silence(30.0)),
    "falls silent": (6, lambda reply, rng: Silence(30.0, reply, _at(rng))),
    "slow": (16, _slow),
}
