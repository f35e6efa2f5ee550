"""What becomes of each chat parameter that isn't a field of ours: ignored and disclosed, or refused. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from turns.errors import UnsupportedParameter


@dataclass(frozen=True, slots=True)
class Rule:
    """`neutral` tells the values that ask for nothing; others are ignored and said, or refused for `why`."""

    answer: Literal["ignore", "refuse"]
    neutral: Callable[[Any], bool]
    why: str = ""


def _among(*values: Any) -> Callable[[Any], bool]:
    return lambda value: any(value == known and type(value) is type(known) for known in values)


def _number(neutral: float) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int | float) and value == neutral


def _empty(value: Any) -> bool:
    return not value


def _never(value: Any) -> bool:
    return False


def _text_format(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") == "text"


def _text_only(value: Any) -> bool:
    return isinstance(value, list) and value == ["text"]


_NO_TOOLS = "function calling is not supported"
RULES: Mapping[str, Rule] = {
    "temperature": Rule("ignore", _number(1)),
    "top_p": Rule("ignore", _number(1)),
    "stop": Rule("ignore", _empty),
    "verbosity": Rule("ignore", _among("medium")),
    "presence_penalty": Rule("ignore", _number(0)),
    "frequency_penalty": Rule("ignore", _number(0)),
    "logit_bias": Rule("ignore", _empty),
    "seed": Rule("ignore", _never),
    "prediction": Rule("ignore", _never),
    "service_tier": Rule("ignore", _among("auto", "default")),
    "store": Rule("ignore", _among(False)),
    "prompt_cache_retention": Rule("ignore", _never),
    "moderation": Rule("ignore", _never),
    "parallel_tool_calls": Rule("ignore", _among(True, False)),
    "tools": Rule("refuse", _empty, _NO_TOOLS),
    "functions": Rule("refuse", _empty, _NO_TOOLS),
    "tool_choice": Rule("refuse", _among("none", "auto"), _NO_TOOLS),
    "function_call": Rule("refuse", _among("none", "auto"), _NO_TOOLS),
    "response_format": Rule("refuse", _text_format, "only text answers are supported"),
    "logprobs": Rule("refuse", _among(False), "Claude gives no log probabilities"),
    "top_logprobs": Rule("refuse", _number(0), "Claude gives no log probabilities"),
    "modalities": Rule("refuse", _text_only, "only text answers are supported"),
    "audio": Rule("refuse", _never, "only text answers are supported"),
    "web_search_options": Rule("refuse", _never, "web search is not allowed here"),
}


def judge(extra: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the parameters that are ignored. Raises UnsupportedParameter. Null is absent, and fields
    that OpenAI doesn't know either are passed over."""
    ignored = []
    for name, value in extra.items():
        rule = RULES.get(name)
        if rule is None or value is None or rule.neutral(value):
            continue
        if rule.answer == "refuse":
            raise UnsupportedParameter(f"'{name}' can't be honoured: {rule.why}.", param=name)
        ignored.append(name)
    return tuple(ignored)
