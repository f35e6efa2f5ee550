"""Translates a request into a turn. Pure: no clock, no randomness, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from claude_server.core.errors import InvalidRequest, UnsupportedParameter
from claude_server.core.model import TurnRequest
from claude_server.dialects import openai_terms
from claude_server.dialects.base import Around
from claude_server.dialects.conversation import SYSTEM_IN_PLACE, check_total, is_blank, pad
from claude_server.dialects.model_names import chosen
from claude_server.dialects.responses import wire
from claude_server.dialects.responses.history import additional_tools, items_of, read
from claude_server.dialects.responses.parameters import REASONING_RULES, RULES
from claude_server.dialects.responses.tools import Named, Offer, to_answer_format, to_offer
from claude_server.dialects.rules import ignored_parameters


@dataclass(frozen=True, slots=True)
class Translated:
    """A request as a turn. `names`: what each of the model's names for tools means to the client."""

    turn: TurnRequest
    ignored: tuple[str, ...]
    names: Mapping[str, Named]


def check_length(request: wire.ResponsesRequest) -> None:
    """Refuse a request without input, and one of more items and parts than the CLI can be told in time.
    Raises InvalidRequest."""
    if request.input is None and request.previous_response_id is None and request.conversation is None:
        raise InvalidRequest("'input' is missing: send a text, or a list of items.", param="input")
    length = sum(1 + _width(item) for item in items_of(request))
    check_total(length, "items and parts", "input")


def _width(item: wire.AnyItem) -> int:
    content = getattr(item, "content", None) or getattr(item, "output", None)
    return len(content) if isinstance(content, list) else 0


def to_turn(request: wire.ResponsesRequest, around: Around) -> Translated:
    """Translate a request. Raises InvalidRequest or UnsupportedParameter with `param`."""
    policy = around.policy
    model = chosen(request.model, policy.default_model)
    sampling = openai_terms.sampling(request.temperature, request.top_p, model, policy)
    offer = to_offer(request, additional_tools(request))
    ignored = _ignored(request, sampling.ignored, offer, policy.strict)
    named = {(each.namespace, each.name): name for name, each in offer.names.items()}
    history = read(request, around.images, named)
    conversation = history.messages
    notices = pad(conversation)
    if history.later_system:
        notices.append(SYSTEM_IN_PLACE)
    notices += [f"items of the kind '{kind}' were left out" for kind in history.left_out]
    notices += [f"items of the kind '{kind}' are told to the model as JSON" for kind in history.told]
    if request.background and request.store is False:
        why = "'background' needs 'store': the response is kept until you ask for it."
        raise InvalidRequest(why, param="store")
    answer = to_answer_format(request)
    effort = request.reasoning.effort if request.reasoning is not None else None
    turn = TurnRequest(
        id=f"resp_{around.id}",
        question=openai_terms.with_form(conversation[-1], answer),
        history=tuple(conversation[:-1]),
        system=_system(request, history.system),
        model=model,
        owner=around.owner,
        effort=openai_terms.effort(effort),
        max_output_tokens=request.max_output_tokens,
        thinking=effort != "none",
        shows_thinking=True,
        tools=offer.tools,
        tool_choice=offer.choice,
        answer=answer,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        # A reply that isn't streamed is collected anyway: it can be retried to its end.
        buffered=not request.stream or policy.stream_mode == "buffered",
        service_tier=openai_terms.service_tier(request.service_tier),
        long_cache=request.prompt_cache_retention == "24h",
        notices=(*notices, *offer.notices),
    )
    return Translated(turn, ignored, offer.names)


def _ignored(
    request: wire.ResponsesRequest, sampling: Mapping[str, Any], offer: Offer, strict: bool
) -> tuple[str, ...]:
    values = {
        **(request.model_extra or {}),
        **sampling,
        "include": request.include,
        "service_tier": request.service_tier,
        "prompt_cache_retention": request.prompt_cache_retention,
    }
    inside = request.reasoning.model_extra if request.reasoning is not None else None
    within = {f"reasoning.{name}": value for name, value in (inside or {}).items()}
    tools = tuple(f"tools.{kind[:80]}" for kind in offer.left_out)
    if tools and strict:
        raise UnsupportedParameter(
            f"The tool '{offer.left_out[0][:80]}' can't be had here, and CLAUDE_STRICT refuses what has no "
            "effect.",
            param="tools",
        )
    return (
        *ignored_parameters(RULES, values, strict=strict),
        *ignored_parameters(REASONING_RULES, within, strict=strict),
        *tools,
    )


def _system(request: wire.ResponsesRequest, leading: tuple[str, ...]) -> str:
    line = openai_terms.verbosity_line(request.text.verbosity if request.text is not None else None)
    return "\n\n".join(text for text in (request.instructions or "", *leading, line) if not is_blank(text))
