"""Translates a completion request into turns. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from claude_server.core.errors import InvalidRequest, UnsupportedParameter
from claude_server.core.model import Message, TurnRequest
from claude_server.dialects import openai_terms
from claude_server.dialects.base import Around
from claude_server.dialects.completions import wire
from claude_server.dialects.completions.parameters import RULES
from claude_server.dialects.conversation import BEGIN, is_blank
from claude_server.dialects.model_names import chosen
from claude_server.dialects.rules import ignored_parameters

MAX_CHOICES = 32
_CONTINUE = (
    "The user gives the beginning of a text. Continue it where it ends. Write nothing but what follows: "
    "don't repeat the beginning, don't answer it, and put no words and no code fence around it."
)
_FILL = (
    "The user gives a text with a gap: what is before it in <before>, what is after it in <after>. Write "
    "nothing but what belongs into the gap: no words and no code fence around it."
)
_GAP = "<before>{before}</before>\n<after>{after}</after>"
# How models for code are asked for what is in the middle.
_MARKS = re.compile(
    r"(?:<\|?fim_prefix\|?>|<PRE>)(?P<before>.*?)(?:<\|?fim_suffix\|?>|<SUF>)(?P<after>.*?)"
    r"(?:<\|?fim_middle\|?>|<MID>)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Translated:
    """A request as turns: those of the first prompt come first. `echoes`: for each turn what its text is put
    behind. `fills`: the texts are what is in the middle."""

    turns: tuple[TurnRequest, ...]
    echoes: tuple[str, ...]
    fills: bool
    ignored: tuple[str, ...]


def to_turns(request: wire.CompletionRequest, around: Around) -> Translated:
    """Translate a request. Raises InvalidRequest or UnsupportedParameter with `param`."""
    prompts, n = _prompts(request), request.n or 1
    if request.best_of is not None and request.best_of > n:
        why = "'best_of' above 'n' can't be had: nothing tells which answer is best."
        raise UnsupportedParameter(why, param="best_of")
    if len(prompts) * n > MAX_CHOICES:
        raise InvalidRequest(f"More than {MAX_CHOICES} answers at once are not possible.", param="prompt")
    model = chosen(request.model, around.policy.default_model)
    sampling = openai_terms.sampling(request.temperature, request.top_p, model, around.policy)
    given = {**(request.model_extra or {}), **sampling.ignored}
    ignored = ignored_parameters(RULES, given, strict=around.policy.strict)
    asked = [_asked(prompt, request.suffix) for prompt in prompts]
    turns = tuple(
        TurnRequest(
            id=f"cmpl-{around.id}",
            question=Message("user", (text,)),
            system=system,
            model=model,
            owner=around.owner,
            max_output_tokens=request.max_tokens,
            # There is no place for it, and it would use up the tokens.
            thinking=False,
            stop=_stops(request),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            buffered=not request.stream or around.policy.stream_mode == "buffered",
        )
        for system, text in asked
        for _ in range(n)
    )
    echoes = tuple(prompt if request.echo else "" for prompt in prompts for _ in range(n))
    return Translated(turns, echoes, any(system == _FILL for system, _ in asked), ignored)


def _prompts(request: wire.CompletionRequest) -> list[str]:
    given = [request.prompt] if isinstance(request.prompt, str) else request.prompt
    texts = [prompt for prompt in given if isinstance(prompt, str)]
    if len(texts) < len(given):
        raise UnsupportedParameter("Token ids can't be read here: send the prompt as text.", param="prompt")
    return texts


def _asked(prompt: str, suffix: str | None) -> tuple[str, str]:
    """(system prompt, question)."""
    if suffix:
        return _FILL, _GAP.format(before=prompt, after=suffix)
    marked = _MARKS.search(prompt)
    if marked is not None:
        return _FILL, _GAP.format(before=marked["before"], after=marked["after"])
    return _CONTINUE, BEGIN if is_blank(prompt) else prompt


def _stops(request: wire.CompletionRequest) -> tuple[str, ...]:
    given = [request.stop] if isinstance(request.stop, str) else request.stop or ()
    return tuple(dict.fromkeys(text for text in given if text))
