"""The API as the CLI meets it: compares what arrives with what was asked, answers, and makes trouble.

Runs in the stand-in's thread; the clients read what it found.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

from chaos.marks import conversations_in, first_difference, marks_in
from chaos.traffic import Question, Said
from standin import Answer, ApiError, ApiRequest, Cut, Reply, Silence, StreamError

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
        if self.troubled and rng.random() < self._trouble:
            name = rng.choices(list(_TROUBLE), [weight for weight, _ in _TROUBLE.values()])[0]
            self.met[name] += 1
            return _TROUBLE[name][1](question, rng)
        return _reply(question, rng)

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
        if said[asked + 1 :] and question.cut is None:
            # After an answer that met its limit the CLI asks to go on, before it can be stopped.
            return "wrong requests upstream", f"after the question: {_names(said[asked + 1 :])}"
        if not self._context_fits(question, said[:asked]):
            return "wrong requests upstream", f"the messages before differ: {_names(said[:asked])}"
        wrong = _wrong_parameters(request, question)
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


def _reply(question: Question, rng: random.Random) -> Reply:
    return Reply.of(
        question.answer,
        stop_reason="end_turn" if question.cut is None else "max_tokens",
        first_delay=rng.choice((0.0, 0.05, 0.3)),
        delay=rng.choice((0.0, 0.0, 0.002, 0.01)),
        chunk_chars=rng.choice((8, 40, 400)),
    )


def _slow(question: Question, rng: random.Random) -> Reply:
    """Some two seconds long: most faults from outside fall into such answers."""
    return replace(_reply(question, rng), delay=0.05, chunk_chars=max(1, len(question.answer) // 40))


def _at(question: Question, rng: random.Random) -> int:
    return rng.randint(0, len(question.answer))


_Make = Callable[[Question, random.Random], Answer]
# Name to (weight, maker).
_TROUBLE: Mapping[str, tuple[int, _Make]] = {
    "529": (12, lambda q, rng: ApiError.overloaded()),
    "500": (8, lambda q, rng: ApiError.server_error()),
    "429": (8, lambda q, rng: ApiError.rate_limited(rng.randint(0, 1))),
    "401": (2, lambda q, rng: ApiError.unauthorized()),
    "no answer": (8, lambda q, rng: Cut(_reply(q, rng), None)),
    "cut": (20, lambda q, rng: Cut(_reply(q, rng), _at(q, rng))),
    "error in the stream": (16, lambda q, rng: StreamError(_reply(q, rng), _at(q, rng))),
    "silent": (4, lambda q, rng: Silence(30.0)),
    "falls silent": (6, lambda q, rng: Silence(30.0, _reply(q, rng), _at(q, rng))),
    "slow": (16, _slow),
}
