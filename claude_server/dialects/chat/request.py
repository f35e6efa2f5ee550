"""Translates a chat request into a turn. Pure: no clock, no randomness, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claude_server.core.cli_tools import CliTools
from claude_server.core.errors import UnsupportedParameter
from claude_server.core.model import TurnRequest
from claude_server.dialects import openai_terms
from claude_server.dialects.base import Around
from claude_server.dialects.chat import wire as chat
from claude_server.dialects.chat.messages import has_later_system, split
from claude_server.dialects.chat.parameters import RULES, no_thinking
from claude_server.dialects.chat.tools import to_answer_format, to_tools
from claude_server.dialects.conversation import SYSTEM_IN_PLACE, check_total, is_blank, pad
from claude_server.dialects.model_names import chosen
from claude_server.dialects.rules import ignored_parameters

MAX_CHOICES = 8


def check_length(request: chat.ChatRequest) -> None:
    """Refuse a chat of more messages, parts and calls than the CLI can be told in time. Raises
    InvalidRequest."""
    length = sum(
        1 + (len(message.content) if isinstance(message.content, list) else 0) + len(message.tool_calls or ())
        for message in request.messages
    )
    check_total(length, "messages, parts and calls", "messages")


def to_turn(request: chat.ChatRequest, around: Around) -> tuple[TurnRequest, tuple[str, ...]]:
    """Translate a request: (turn, names of ignored parameters).

    Raises InvalidRequest or UnsupportedParameter with `param`.
    """
    policy, cli_tools = around.policy, around.cli_tools
    model = chosen(request.model, policy.default_model)
    sampling = openai_terms.sampling(request.temperature, request.top_p, model, policy)
    ignored = ignored_parameters(RULES, _not_honoured(request, sampling.ignored), strict=policy.strict)
    _check_choices(request)
    if cli_tools is not None:
        _check_cli_tools_conflicts(request)
    system, conversation = split(request.messages, around.images, session=request.session_id is not None)
    notices = pad(conversation)
    if has_later_system(request.messages):
        notices.append(SYSTEM_IN_PLACE)
    tools, choice, about_tools = to_tools(request)
    answer = to_answer_format(request)
    line = openai_terms.verbosity_line(request.verbosity)
    turn = TurnRequest(
        id=f"chatcmpl-{around.id}",
        question=openai_terms.with_form(conversation[-1], answer),
        history=tuple(conversation[:-1]),
        system="\n\n".join(text for text in (*_top_system(request), system, line) if not is_blank(text)),
        model=model,
        session_id=request.session_id,
        owner=around.owner,
        effort=openai_terms.effort(request.reasoning_effort),
        max_output_tokens=request.max_completion_tokens or request.max_tokens,
        thinking=_thinks(request, cli_tools),
        shows_thinking=policy.reasoning_field is not None,
        tools=tools,
        tool_choice=choice,
        answer=answer,
        stop=_stops(request),
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        # A reply that isn't streamed is collected anyway: it can be retried to its end.
        buffered=not request.stream or (request.stream_mode or policy.stream_mode) == "buffered",
        cli_tools=cli_tools,
        service_tier=openai_terms.service_tier(request.service_tier),
        long_cache=request.prompt_cache_retention == "24h",
        notices=(*notices, *about_tools),
    )
    return turn, ignored


def _not_honoured(request: chat.ChatRequest, of_sampling: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters that may have no effect, with their values."""
    return {
        **(request.model_extra or {}),
        **of_sampling,
        "service_tier": request.service_tier,
        "prompt_cache_retention": request.prompt_cache_retention,
        "thinking": request.thinking,
    }


def _thinks(request: chat.ChatRequest, cli_tools: CliTools | None) -> bool:
    # The CLI heeds a budget for models that have one only: the others are told not to think.
    no_budget = cli_tools is not None and cli_tools.thinking_tokens == 0
    return request.reasoning_effort != "none" and not no_thinking(request.thinking) and not no_budget


def _top_system(request: chat.ChatRequest) -> tuple[str, ...]:
    """The texts of the field 'system'."""
    given = request.system or ()
    return (given,) if isinstance(given, str) else tuple(block.text for block in given)


def _check_choices(request: chat.ChatRequest) -> None:
    if request.n is not None and request.n > MAX_CHOICES:
        raise UnsupportedParameter(f"'n' above {MAX_CHOICES} is not supported.", param="n")
    if request.n is not None and request.n > 1 and request.session_id is not None:
        raise UnsupportedParameter("A session has one answer to a message: 'n' must be 1.", param="n")


def _check_cli_tools_conflicts(request: chat.ChatRequest) -> None:
    """Refuse parameters that don't work together with the CLI's own tools."""
    both = {
        "tools": request.tools or request.functions,
        "response_format": request.response_format and request.response_format.type != "text",
        "n": (request.n or 1) > 1,
    }
    for name, given in both.items():
        if given:
            raise UnsupportedParameter(f"'{name}' can't be had together with 'enable_tools'.", param=name)


def _stops(request: chat.ChatRequest) -> tuple[str, ...]:
    given = [request.stop] if isinstance(request.stop, str) else request.stop or ()
    return tuple(dict.fromkeys(text for text in (*given, *(request.stop_sequences or ())) if text))
