"""What the API takes of the schema of a tool's arguments. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# The API takes one object at the top, no alternatives.
_COMBINATORS = ("allOf", "anyOf", "oneOf")
# The API holds the model to schemas of these words alone, and refuses others; and to so many of them.
_STRICT_WORDS = frozenset(
    {
        *("type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf"),
        *("$ref", "$defs", "definitions", "title", "description", "default"),
    }
)
MAX_STRICT_TOOLS = 20
_MAX_STRICT_UNIONS = 16
# Parts of a schema that are looked at: a few lines of it can refer to each other without end.
_MAX_PARTS = 2000
# Different schemas of one property that are kept.
_MAX_VARIANTS = 32


def as_one_object(schema: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A schema without alternatives at its top, and the words that were left out.

    Properties that only alternatives name are kept, since the model would not know of them without. It takes
    all that the first one took, but where an alternative lets a property that only others name be anything.
    """
    words = tuple(word for word in _COMBINATORS if word in schema)
    if not words:
        return dict(schema), ()
    result = {key: value for key, value in schema.items() if key not in words}
    own = result.get("properties")
    properties: dict[str, Any] = dict(own) if isinstance(own, dict) else {}
    found: dict[str, list[Any]] = {}
    for part in _parts(schema, words):
        named = part.get("properties")
        for name, value in named.items() if isinstance(named, dict) else ():
            seen = found.setdefault(name, []) if name not in properties else [value]
            if len(seen) < _MAX_VARIANTS and value not in seen:
                seen.append(value)
    if found and schema.get("additionalProperties") is not False:
        properties |= {name: seen[0] if len(seen) == 1 else {"anyOf": seen} for name, seen in found.items()}
    result["properties"] = properties
    always = [name for part in _parts(schema, ("allOf",)) for name in _texts(part.get("required"))]
    if always:
        result["required"] = list(dict.fromkeys([*_texts(schema.get("required")), *always]))
    return result, words


def _texts(value: Any) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _parts(schema: Mapping[str, Any], words: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    for word in words:
        for part in schema.get(word) or ():
            target = _target(schema, part["$ref"]) if isinstance(part, dict) and "$ref" in part else part
            if isinstance(target, dict):
                yield target


def _target(root: Mapping[str, Any], ref: Any) -> Any:
    """What a plain reference within the schema refers to; None for any other."""
    if not isinstance(ref, str) or not ref.startswith("#/"):
        return None
    part: Any = root
    for step in ref[2:].split("/"):
        part = part.get(step) if isinstance(part, dict) else None
    return part


def can_be_strict(schema: Mapping[str, Any]) -> bool:
    """Does the API hold the model to this schema, if it is asked to? It refuses what it can't."""
    unions = 0
    left: list[tuple[Any, tuple[str, ...]]] = [(schema, ())]
    for _ in range(_MAX_PARTS):
        if not left:
            return True
        part, above = left.pop()
        if not isinstance(part, dict) or not _STRICT_WORDS.issuperset(part):
            return False
        if (part.get("type") == "object" or "properties" in part) and part.get(
            "additionalProperties"
        ) is not False:
            return False
        unions += "anyOf" in part or isinstance(part.get("type"), list)
        if unions > _MAX_STRICT_UNIONS:
            return False
        if (ref := part.get("$ref")) is not None:
            if ref in above:
                return False
            left.append((_target(schema, ref), (*above, str(ref))))
        below = [part["items"]] if "items" in part else []
        below += (part.get("properties") or {}).values()
        left += [(one, above) for one in (*below, *(part.get("anyOf") or ()))]
    return False
