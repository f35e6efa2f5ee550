"""Tools in Anthropic's shape, as OpenAI has them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def function(given: Any) -> Any:
    """A tool as OpenAI has it, of one that Anthropic's API would take; anything else as it is."""
    if not isinstance(given, Mapping) or "function" in given or "input_schema" not in given:
        return given
    names = {"name": "name", "description": "description", "input_schema": "parameters", "strict": "strict"}
    return {
        "type": "function",
        "function": {ours: given[name] for name, ours in names.items() if name in given},
    }


def choice(given: Any) -> Any:
    """The choice of a tool as OpenAI has it, of Anthropic's; anything else as it is."""
    kind = given.get("type") if isinstance(given, Mapping) else None
    if kind == "tool":
        return {"type": "function", "function": {"name": given.get("name")}}
    return _CHOICES.get(kind, given) if isinstance(kind, str) else given
