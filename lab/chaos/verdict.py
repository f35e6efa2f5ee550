"""What a client got, judged: right, an error that is told as it should be, or something that must not be."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lab.chaos.marks import conversations_in, first_difference
from lab.chaos.traffic import Question

# The errors that trouble may end in: what else a request here could get would be a mistake of the server.
# Status, and what x-should-retry may say.
EXPECTED_ERRORS: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "queue_full": (429, ("true",)),
    "rate_limit_exceeded": (429, ("true",)),
    "cli_failed": (502, ("true",)),
    "api_unreachable": (502, ("true",)),
    # A 401 may pass, until it comes again.
    "cli_not_ready": (503, ("true", "false")),
    "overloaded": (503, ("true",)),
    "state_failed": (503, ("true",)),
    "timeout": (504, ("true",)),
}
_KEYS = {"message", "type", "param", "code"}


@dataclass(frozen=True)
class Verdict:
    """`outcome`: right, left, an error's code, or what is wrong (then `problem` says more).

    after_200: the error came in a stream that had begun. facts: the answer's x_claude. retry_after: seconds
    that an error asks to wait.
    """

    outcome: str
    problem: str | None = None
    after_200: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)
    retry_after: float = 0.0


RIGHT = "right"
LEFT = "left"
WRONG = "wrong answers"
STRANGE_ERROR = "strange errors"
BROKEN_END = "answers without a proper end"


def of_whole(question: Question, status: int, headers: Mapping[str, str], text: str) -> Verdict:
    """An answer that was not streamed, or the refusal of one that should have been."""
    foreign = _foreign(question, text)
    if foreign is not None:
        return foreign
    try:
        body = json.loads(text)
    except ValueError:
        return Verdict(BROKEN_END, f"{status} with a body that is no JSON: {text[:100]!r}")
    if status != 200:
        return _refused(status, headers, body)
    choice = body["choices"][0]
    message = choice["message"]
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    return _answered(question, message["content"] or "", calls, choice["finish_reason"], body["x_claude"])


def of_stream(question: Question, lines: Iterable[str]) -> Verdict:
    """A 200 with server-sent events, all of its lines."""
    data = [line[6:] for line in lines if line.startswith("data: ")]
    foreign = _foreign(question, "\n".join(data))
    if foreign is not None:
        return foreign
    ended = data[-1:] == ["[DONE]"]
    events = [json.loads(each) for each in (data[:-1] if ended else data)]
    errors = [event["error"] for event in events if "error" in event]
    choices = [choice for event in events for choice in event.get("choices", ())]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    finishes = [c["finish_reason"] for c in choices if c["finish_reason"]]
    if errors:
        if ended or finishes or len(errors) > 1 or "error" not in events[-1]:
            return Verdict(BROKEN_END, "an error event and another end")
        # How JSON is spaced is not told beforehand.
        if question.form is None and not question.answer.startswith(text):
            return Verdict(WRONG, f"before the error, {first_difference(text, question.answer)}")
        return _told(errors[0], after_200=True)
    if not ended or len(finishes) != 1:
        return Verdict(BROKEN_END, f"finish_reason {finishes}, [DONE] {'there' if ended else 'missing'}")
    facts: Mapping[str, Any] = next((e["x_claude"] for e in reversed(events) if e.get("x_claude")), {})
    return _answered(question, text, _calls(choices), finishes[0], facts)


def _calls(choices: Sequence[Any]) -> list[dict[str, str]]:
    """Streamed calls, put together."""
    calls: dict[int, dict[str, str]] = {}
    for piece in (piece for choice in choices for piece in choice["delta"].get("tool_calls") or ()):
        call = calls.setdefault(piece["index"], {"name": "", "arguments": ""})
        for key in call:
            call[key] += piece["function"].get(key) or ""
    return list(calls.values())


def _answered(
    question: Question, text: str, calls: Sequence[Mapping[str, str]], finish: str, facts: Mapping[str, Any]
) -> Verdict:
    same = _as_json(text) == question.form if question.form is not None else text == question.answer
    if not same:
        return Verdict(WRONG, first_difference(text, question.answer), facts=facts)
    expected = [(question.tools[0], question.call)] if question.call is not None else []
    if [(call["name"], _as_json(call["arguments"])) for call in calls] != expected:
        return Verdict(WRONG, f"calls {calls}, not {expected}"[:300], facts=facts)
    if finish != question.finish:
        return Verdict(WRONG, f"finish_reason {finish}, not {question.finish}", facts=facts)
    return Verdict(RIGHT, facts=facts)


def _as_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _foreign(question: Question, text: str) -> Verdict | None:
    own = question.name[2:-1].rpartition(".")[0]
    others = conversations_in(text) - {own}
    return Verdict("cross-talk to clients", f"texts of {sorted(others)[:3]}") if others else None


def _refused(status: int, headers: Mapping[str, str], body: Any) -> Verdict:
    error = body.get("error") if isinstance(body, dict) else None
    verdict = _told(error, after_200=False)
    if verdict.problem is not None:
        return verdict
    wanted, may_say = EXPECTED_ERRORS[verdict.outcome]
    if status != wanted or headers.get("x-should-retry") not in may_say:
        found = f"{status}, x-should-retry {headers.get('x-should-retry')}"
        return Verdict(STRANGE_ERROR, f"{verdict.outcome} with {found}")
    if verdict.outcome == "queue_full" and not headers.get("retry-after"):
        return Verdict(STRANGE_ERROR, "queue_full without Retry-After")
    return replace(verdict, retry_after=float(headers.get("retry-after", 0)))


def _told(error: Any, *, after_200: bool) -> Verdict:
    if not isinstance(error, dict) or set(error) != _KEYS or not error["message"]:
        return Verdict(STRANGE_ERROR, f"not in the one shape: {error!r}"[:200])
    if error["code"] not in EXPECTED_ERRORS:
        return Verdict(STRANGE_ERROR, f"{error['code']}: {error['message']}"[:300])
    return Verdict(str(error["code"]), after_200=after_200)
