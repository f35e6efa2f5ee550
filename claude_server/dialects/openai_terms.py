"""What OpenAI's parameters mean to the API, in the dialects that have them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal

from claude_server.core.answer_format import AnswerFormat
from claude_server.core.model import Message
from claude_server.dialects.base import Policy

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Verbosity = Literal["low", "medium", "high"]
# OpenAI's effort names that Claude doesn't have.
_EFFORT = {"none": None, "minimal": "low"}
# OpenAI's names of tiers by the API's; what isn't named is the API's default.
_SERVICE_TIERS = {"default": "standard_only", "standard_only": "standard_only"}
_VERBOSITY = {"low": "Answer briefly.", "high": "Answer in detail."}
_ONE_OBJECT = "Answer with one JSON object and nothing else: no words around it, no code fence."


def effort(asked: Effort | None) -> str | None:
    """The API's effort; None: the model's own."""
    return _EFFORT.get(asked or "", asked)


def service_tier(asked: str | None) -> str | None:
    """The API's tier; None: its default."""
    return _SERVICE_TIERS.get(asked or "")


def verbosity_line(asked: Verbosity | None) -> str:
    """A line for the system prompt; "" for none."""
    return _VERBOSITY.get(asked or "", "")


def with_form(question: Message, answer: AnswerFormat | None) -> Message:
    """The question, which says so where one JSON object is asked for."""
    if answer is None or answer.schema is not None:
        return question
    # Not in the system prompt: a session keeps its first one.
    return replace(question, blocks=(*question.blocks, _ONE_OBJECT))


@dataclass(frozen=True, slots=True)
class Sampling:
    """The sampling parameters that are forwarded, and those that are not, with the values asked for."""

    temperature: float | None
    top_p: float | None
    ignored: dict[str, float]


def sampling(temperature: float | None, top_p: float | None, model: str | None, policy: Policy) -> Sampling:
    """What becomes of them for a model; OpenAI's default asks for nothing."""
    values = {"temperature": temperature, "top_p": top_p}
    asked = {name: value for name, value in values.items() if value is not None and value != 1}
    if not any(fnmatchcase(model or "default", pattern) for pattern in policy.sampling_models):
        return Sampling(None, None, asked)
    warm = asked.get("temperature")
    return Sampling(None if warm is None else min(warm, 1.0), asked.get("top_p"), {})
