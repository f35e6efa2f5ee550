"""What becomes of each chat parameter: honoured, ignored and disclosed, or refused. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from claude_server.core.errors import UnsupportedParameter


def _among(*values: Any) -> Callable[[Any], bool]:
    return lambda value: any(value == known and type(value) is type(known) for known in values)


def _number(neutral: float) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int | float) and value == neutral


def _empty(value: Any) -> bool:
    return not value


def _never(value: Any) -> bool:
    return False


def _always(value: Any) -> bool:
    return True


def _text_only(value: Any) -> bool:
    return isinstance(value, list) and value == ["text"]


def no_thinking(value: Any) -> bool:
    """Does a value of Anthropic's 'thinking' turn it off?"""
    return isinstance(value, Mapping) and value.get("type") == "disabled"


@dataclass(frozen=True, slots=True)
class Rule:
    """`neutral` tells the values that ask for nothing, or are honoured; others are ignored and said, or
    refused. `why` is the reason, or how the parameter is honoured."""

    answer: Literal["honour", "ignore", "refuse"]
    why: str
    neutral: Callable[[Any], bool] = _never


def _any(value: Any) -> bool:
    return True


def _honoured(how: str, values: Callable[[Any], bool] = _any) -> Rule:
    """`values` tells those that are honoured; others are ignored."""
    return Rule("honour", how, values)


_NOT_TOLD = "the claude CLI has no way to tell the API"
_NO_SUCH = "Claude has no such setting"
_NO_LOGPROBS = "Claude gives no log probabilities"
_TEXT_ONLY = "only text answers are supported"
_OLD_TOOLS = "as 'tools', in its older form"
RULES: Mapping[str, Rule] = {
    "messages": _honoured("all roles; text, images and PDFs as data URLs, tool calls and their results"),
    "model": _honoured("any name of /v1/models, or a full model id"),
    "stream": _honoured("server-sent events"),
    "stream_options": _honoured("include_usage; the rest has no effect"),
    "n": _honoured("up to 8 answers, each a turn of its own"),
    "max_tokens": _honoured("as the API's limit"),
    "max_completion_tokens": _honoured("as the API's limit; goes before max_tokens"),
    "stop": _honoured("up to four texts, by the API; blank ones by the server"),
    "reasoning_effort": _honoured("none: no thinking; minimal is low; the others as they are"),
    "verbosity": _honoured("a line in the system prompt"),
    "tools": _honoured("as the API's tools"),
    "tool_choice": _honoured("none, auto, required, a named tool, allowed_tools"),
    "parallel_tool_calls": _honoured("false: one call at most"),
    "functions": _honoured(_OLD_TOOLS),
    "function_call": _honoured(_OLD_TOOLS),
    "response_format": _honoured("json_schema by a tool that takes the answer, json_object by a request"),
    "metadata": _honoured("comes back in the answer"),
    "user": _honoured("logged as a hash"),
    "safety_identifier": _honoured("logged as a hash"),
    "prompt_cache_key": _honoured("logged as a hash; the cache needs none"),
    "prompt_cache_retention": _honoured(
        "24h: the API caches for an hour, its longest time; in_memory: as usual, for minutes",
        _among("24h", "in_memory", "in-memory"),
    ),
    "service_tier": _honoured(
        "default: the API's standard_only; auto, priority: as usual, its auto; there is no other",
        _among("auto", "default", "priority", "standard_only"),
    ),
    "system": _honoured("Anthropic's: text of the prompt, before that of the messages"),
    "stop_sequences": _honoured("Anthropic's: as 'stop', and beside it"),
    "thinking": _honoured(
        "Anthropic's: of the type disabled there is none; how much there is otherwise is up to "
        "'reasoning_effort'",
        no_thinking,
    ),
    "session_id": _honoured("ours: a conversation that the server keeps"),
    "enable_tools": _honoured("ours: the CLI runs tools of its own, where CLAUDE_ALLOW_TOOLS allows it"),
    "stream_mode": _honoured("ours: live or buffered"),
    "temperature": Rule("ignore", "forwarded for the models of CLAUDE_SAMPLING_MODELS only", _number(1)),
    "top_p": Rule("ignore", "forwarded for the models of CLAUDE_SAMPLING_MODELS only", _number(1)),
    "presence_penalty": Rule("ignore", _NO_SUCH, _number(0)),
    "frequency_penalty": Rule("ignore", _NO_SUCH, _number(0)),
    "logit_bias": Rule("ignore", _NO_SUCH, _empty),
    "seed": Rule("ignore", _NO_SUCH),
    "prediction": Rule("ignore", _NO_SUCH),
    "store": Rule("ignore", "answers are not kept", _among(False)),
    "prompt_cache_options": Rule("ignore", _NOT_TOLD),
    "moderation": Rule("ignore", _NO_SUCH),
    "logprobs": Rule("refuse", _NO_LOGPROBS, _among(False)),
    "top_logprobs": Rule("refuse", _NO_LOGPROBS, _number(0)),
    "modalities": Rule("refuse", _TEXT_ONLY, _text_only),
    "audio": Rule("ignore", "says how audio sounds; it is 'modalities' that asks for it", _always),
    "web_search_options": Rule("refuse", "the CLI's WebSearch (enable_tools) gives no citations"),
}


def ignored_parameters(values: Mapping[str, Any], *, strict: bool = False) -> tuple[str, ...]:
    """The names of the parameters that are ignored; with `strict` (CLAUDE_STRICT) there may be none.

    Raises UnsupportedParameter. Null is absent, and fields that OpenAI doesn't know either are passed over.
    """
    ignored = []
    for name, value in values.items():
        rule = RULES.get(name)
        if rule is None or value is None or rule.neutral(value):
            continue
        if rule.answer == "refuse":
            raise UnsupportedParameter(f"'{name}' can't be honoured: {rule.why}.", param=name)
        if strict:
            raise UnsupportedParameter(
                f"'{name}' has no effect here: {rule.why}. CLAUDE_STRICT refuses it.", param=name
            )
        ignored.append(name)
    return tuple(ignored)
