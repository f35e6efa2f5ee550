"""Translates a message request into a turn. Pure: no clock, no randomness, no I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from claude_server.core.answer_format import AnswerFormat
from claude_server.core.errors import InvalidRequest
from claude_server.core.model import TurnRequest
from claude_server.dialects import functions, openai_terms
from claude_server.dialects.base import Around
from claude_server.dialects.conversation import check_total, is_blank, pad
from claude_server.dialects.messages import history, wire
from claude_server.dialects.messages.parameters import RULES
from claude_server.dialects.messages.tools import to_tools
from claude_server.dialects.model_names import chosen
from claude_server.dialects.rules import ignored_parameters


def check_length(request: wire.CountRequest) -> None:
    """Refuse a request of more messages and blocks than the CLI can be told in time. Raises
    InvalidRequest."""
    length = sum(
        1 + (len(message.content) if isinstance(message.content, list) else 0) for message in request.messages
    )
    check_total(length, "messages and blocks", "messages")


def to_turn(request: wire.CountRequest, around: Around) -> tuple[TurnRequest, tuple[str, ...]]:
    """Translate a request: (turn, names of ignored parameters).

    Raises InvalidRequest or UnsupportedParameter with `param`.
    """
    policy = around.policy
    model = chosen(request.model, policy.default_model)
    sampling = openai_terms.sampling(request.temperature, request.top_p, model, policy)
    samples = any(fnmatchcase(model or "default", pattern) for pattern in policy.sampling_models)
    left: dict[str, Any] = {**(request.model_extra or {}), **sampling.ignored}
    left |= {"service_tier": request.service_tier, "thread": request.thread}
    left |= {} if samples else {"top_k": request.top_k}
    ignored = ignored_parameters(RULES, left, strict=policy.strict)
    notices: list[str] = []
    leading, talk = history.conversation(request.messages, notices)
    notices += pad(talk)
    tools, choice = to_tools(request, notices)
    asked = request.thinking
    turn = TurnRequest(
        id=f"msg_{around.id}",
        question=talk[-1],
        history=tuple(talk[:-1]),
        system="\n\n".join(text for text in (history.system_prompt(request), *leading) if not is_blank(text)),
        model=model,
        owner=around.owner,
        effort=request.output_config.effort if request.output_config else None,
        max_output_tokens=request.max_tokens,
        thinking=asked is None or asked.type != "disabled",
        shows_thinking=shows_thinking(request),
        thinking_form=_form(asked),
        tools=tools,
        tool_choice=choice,
        answer=_answer_format(request),
        stop=tuple(dict.fromkeys(text for text in request.stop_sequences or () if text)),
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=request.top_k if samples else None,
        # A reply that isn't streamed is collected anyway: it can be retried to its end.
        buffered=not request.stream or policy.stream_mode == "buffered",
        service_tier="standard_only" if request.service_tier == "standard_only" else None,
        long_cache=history.asks_long_cache(request),
        notices=tuple(dict.fromkeys(notices)),
    )
    return turn, ignored


def shows_thinking(request: wire.CountRequest) -> bool:
    """Does the client ask for thinking? Who doesn't may read the first block as the answer."""
    return request.thinking is not None and request.thinking.type != "disabled"


def _form(asked: wire.Thinking | None) -> str:
    """The API's `thinking`, where it differs from what the CLI asks for anyway."""
    if asked is None or asked.type == "disabled" or (asked.type == "adaptive" and asked.display is None):
        return ""
    return asked.model_dump_json(exclude_none=True)


def _answer_format(request: wire.CountRequest) -> AnswerFormat | None:
    form = request.output_config.format if request.output_config else None
    form = form or request.output_format
    if form is None:
        return None
    if form.schema_ is None:
        raise InvalidRequest("'output_config.format.schema' is missing.", param="output_config.format.schema")
    return functions.answer_format(form.schema_, "output_config.format.schema")


def user_hash(request: wire.CountRequest) -> Mapping[str, str]:
    """A hash of whom the client names as its user, for the log."""
    name = request.metadata.user_id if request.metadata else None
    return {} if name is None else {"user": hashlib.sha256(name.encode()).hexdigest()[:12]}
