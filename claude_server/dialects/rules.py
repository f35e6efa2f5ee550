"""Tables of what becomes of each parameter, and how they are read. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from claude_server.core.errors import UnsupportedParameter


def among(*values: Any) -> Callable[[Any], bool]:
    """Tells one of these values, of the same type."""
    return lambda value: any(value == known and type(value) is type(known) for known in values)


def number(neutral: float) -> Callable[[Any], bool]:
    """Tells this number, whole or not."""
    return lambda value: isinstance(value, int | float) and value == neutral


def empty(value: Any) -> bool:
    """Tells what is nothing: an empty text, list or object, zero, false."""
    return not value


def never(value: Any) -> bool:
    """Tells no value."""
    return False


def always(value: Any) -> bool:
    """Tells every value."""
    return True


@dataclass(frozen=True, slots=True)
class Rule:
    """`neutral` tells the values that ask for nothing, or are honoured; others are ignored and said, or
    refused. `why` is the reason, or how the parameter is honoured."""

    answer: Literal["honour", "ignore", "refuse"]
    why: str
    neutral: Callable[[Any], bool] = never


def honoured(how: str, values: Callable[[Any], bool] = always) -> Rule:
    """`values` tells those that are honoured; others are ignored."""
    return Rule("honour", how, values)


def ignored_parameters(
    rules: Mapping[str, Rule], values: Mapping[str, Any], *, strict: bool = False
) -> tuple[str, ...]:
    """The names of the parameters that are ignored; with `strict` (CLAUDE_STRICT) there may be none.

    Raises UnsupportedParameter. Null is absent, and fields that have no rule are passed over.
    """
    ignored = []
    for name, value in values.items():
        rule = rules.get(name)
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
