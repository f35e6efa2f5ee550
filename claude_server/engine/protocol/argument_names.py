"""Names of arguments that the API doesn't take, such as "$filter" or "full name": renamed on the way there,
and back. Pure.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from claude_server.core.model import AttemptRequest, Message, Tool, ToolUse

# The API's rule for the names of a tool's arguments; it doesn't look at what is nested in them.
_ALLOWED = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_NOT_ALLOWED = re.compile(r"[^a-zA-Z0-9_.-]+")
_REF = re.compile(r"#/properties/([^/]*)")
# Longest schema, in characters, whose names are cached.
_CACHE_MAX_CHARS = 64 * 1024
# Their schemas are about the same object, and so are the names in them.
_SAME_OBJECT = ("if", "then", "else", "not")
_BY_NAME = ("dependentRequired", "dependentSchemas", "dependencies")


def has_other_names(schema: Mapping[str, Any]) -> bool:
    """Has an object's schema properties whose names the API refuses?"""
    properties = schema.get("properties")
    return isinstance(properties, dict) and not all(map(_ALLOWED.fullmatch, properties))


@dataclass(frozen=True, slots=True)
class ArgumentNames:
    """Per tool: the API's name of an argument by the caller's, for those that differ."""

    by_tool: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, tools: Iterable[Tool]) -> ArgumentNames:
        found = {tool.name: _names(tool.schema) for tool in tools}
        return cls({name: names for name, names in found.items() if names})

    def request(self, request: AttemptRequest) -> AttemptRequest:
        """The request as the API takes it: its tools and the calls in its conversation."""
        if not self.by_tool:
            return request
        turn = request.turn
        tools = tuple(
            replace(tool, schema=_renamed_schema(tool.schema, self.by_tool[tool.name]))
            if tool.name in self.by_tool
            else tool
            for tool in turn.tools
        )
        turn = replace(turn, tools=tools, question=self._message(turn.question))
        return replace(request, turn=turn, history=tuple(map(self._message, request.history)))

    def _message(self, message: Message) -> Message:
        blocks = tuple(self._call(b) if isinstance(b, ToolUse) else b for b in message.blocks)
        return replace(message, blocks=blocks)

    def _call(self, call: ToolUse) -> ToolUse:
        names = self.by_tool.get(call.name, {})
        return replace(call, input={names.get(name, name): value for name, value in call.input.items()})

    def back(self, tool: str) -> Mapping[str, str]:
        """The caller's names of a tool's arguments by the API's, for those that differ."""
        return {theirs: ours for ours, theirs in self.by_tool.get(tool, {}).items()}


def _names(schema: str) -> Mapping[str, str]:
    return _cached_names(schema) if len(schema) <= _CACHE_MAX_CHARS else _find_names(schema)


@lru_cache(256)
def _cached_names(schema: str) -> Mapping[str, str]:
    return _find_names(schema)


def _find_names(schema: str) -> Mapping[str, str]:
    properties = json.loads(schema).get("properties")
    if not isinstance(properties, dict):
        return {}
    taken = {name for name in properties if _ALLOWED.fullmatch(name)}
    names: dict[str, str] = {}
    for name in properties:
        if name not in taken:
            names[name] = _free_name(name, taken)
            taken.add(names[name])
    return names


def _free_name(name: str, taken: set[str]) -> str:
    # Without accents, as people write it where there are none.
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    base = _NOT_ALLOWED.sub("_", plain).strip("_")[:56] or "argument"
    free, number = base, 1
    while free in taken:
        number += 1
        free = f"{base}_{number}"
    return free


def _renamed_schema(schema: str, names: Mapping[str, str]) -> str:
    renamed = _renamed(json.loads(schema), names)
    for ours, theirs in names.items():
        # So the model knows what it is called where it comes from.
        if isinstance(renamed["properties"][theirs], dict):
            renamed["properties"][theirs].setdefault("title", ours)
    return json.dumps(_with_refs(renamed, names) if _REF.search(schema) else renamed)


def _renamed(schema: Any, names: Mapping[str, str]) -> Any:
    if not isinstance(schema, dict):
        return schema
    result = dict(schema)
    if isinstance(properties := schema.get("properties"), dict):
        result["properties"] = {names.get(name, name): value for name, value in properties.items()}
    if isinstance(required := schema.get("required"), list):
        result["required"] = _each(required, names)
    for word in _BY_NAME:
        if isinstance(rules := schema.get(word), dict):
            result[word] = {
                names.get(name, name): _each(rule, names) if isinstance(rule, list) else _renamed(rule, names)
                for name, rule in rules.items()
            }
    for word in _SAME_OBJECT:
        if word in schema:
            result[word] = _renamed(schema[word], names)
    return result


def _each(texts: Iterable[Any], names: Mapping[str, str]) -> list[Any]:
    return [names.get(text, text) if isinstance(text, str) else text for text in texts]


def _with_refs(part: Any, names: Mapping[str, str]) -> Any:
    """References into the properties, by their new names."""
    pointers = {name.replace("~", "~0").replace("/", "~1"): theirs for name, theirs in names.items()}
    if isinstance(part, list):
        return [_with_refs(item, names) for item in part]
    if not isinstance(part, dict):
        return part
    return {
        key: _REF.sub(lambda found: f"#/properties/{pointers.get(found[1], found[1])}", value, count=1)
        if key == "$ref" and isinstance(value, str) and value.startswith("#")
        else _with_refs(value, names)
        for key, value in part.items()
    }
