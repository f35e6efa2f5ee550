"""The format that an answer must have, and the check against it. Pure."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jsonschema_rs

from turns.errors import InvalidAnswer

_FENCED = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*", re.DOTALL)
# Longest schema, in characters, whose validator is cached.
_CACHE_MAX_CHARS = 64 * 1024
# Schema parts times answer characters; this much takes some tenths of a second.
_MAX_CHECK_COST = 5_000_000
# Compiling a pattern takes time quadratic in its length; this much takes some tens of milliseconds.
_MAX_PATTERN_COST = (32 * 1024) ** 2
# A pattern in a schema comes from the client: one that would run for ever is given up.
_PATTERNS = jsonschema_rs.FancyRegexOptions(backtrack_limit=100_000)
_REFERENCES = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})


class InvalidSchema(Exception):
    """The schema is not valid; the text says why."""


def validator(schema: str) -> jsonschema_rs.Validator:
    """The validator for a JSON text. Nothing is fetched for it. Raises InvalidSchema."""
    return _build_validator(schema) if len(schema) > _CACHE_MAX_CHARS else _cached_validator(schema)


@lru_cache(256)
def _cached_validator(schema: str) -> jsonschema_rs.Validator:
    return _build_validator(schema)


def _build_validator(schema: str) -> jsonschema_rs.Validator:
    loaded = json.loads(schema)
    if _pattern_cost(loaded) > _MAX_PATTERN_COST:
        raise InvalidSchema("its patterns or names are too long")
    options: dict[str, Any] = {"offline": True, "pattern_options": _PATTERNS}
    problems = (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError)
    try:
        return jsonschema_rs.validator_for(loaded, **options)
    except problems as error:
        why = str(getattr(error, "message", error)).splitlines()[0]
    try:
        # One of an older draft that doesn't say so, or not in a way that is known.
        return jsonschema_rs.Draft7Validator({k: v for k, v in loaded.items() if k != "$schema"}, **options)
    except problems:
        raise InvalidSchema(why) from None


@lru_cache(256)
def _schema_cost(schema: str) -> float:
    """An upper bound of the schema parts that are evaluated for one value. References count as what they
    refer to; infinity for a recursive one, or one that isn't a plain path."""
    root = json.loads(schema)
    known: dict[str, float] = {}

    def of(part: Any) -> float:
        if isinstance(part, list):
            return sum(map(of, part))
        if not isinstance(part, dict):
            return 1
        return 1 + sum(behind(value) if name in _REFERENCES else of(value) for name, value in part.items())

    def behind(place: Any) -> float:
        if not isinstance(place, str) or not place.startswith("#/"):
            return math.inf
        if place not in known:
            known[place] = math.inf
            part = root
            for step in place[2:].split("/"):
                part = part.get(step) if isinstance(part, dict) else None
            if part is not None:
                known[place] = of(part)
        return known[place]

    try:
        return of(root)
    except RecursionError:
        return math.inf


def _pattern_cost(schema: Any) -> int:
    """The cost of compiling all patterns in a schema; property names may be patterns too."""
    total = 0
    left = [schema]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            total += sum(len(text) ** 2 for text in (part.get("pattern"), *part) if isinstance(text, str))
            left += part.values()
        elif isinstance(part, list):
            left += part
    return total


def _reject_constant(name: str) -> None:
    """Python reads NaN and Infinity, which are not JSON."""
    raise ValueError(name)


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """JSON that conforms to `schema`, a JSON text; None: any JSON object."""

    schema: str | None = None

    def is_expensive(self, text: str) -> bool:
        """May the check take long? A few lines of schema can refer to each other without end."""
        if self.schema is None:
            return False
        return len(self.schema) > _CACHE_MAX_CHARS or _schema_cost(self.schema) * len(text) > _MAX_CHECK_COST

    def validated(self, text: str) -> str:
        """The JSON in an answer, without fences around it. Raises InvalidAnswer."""
        fenced = _FENCED.fullmatch(text)
        found = fenced[1] if fenced else text.strip()
        try:
            value = json.loads(found, parse_constant=_reject_constant)
        except (ValueError, RecursionError):
            raise InvalidAnswer("The model's answer is not the JSON that was asked for.") from None
        problem = self._problem(value)
        if problem is not None:
            raise InvalidAnswer(f"The model's answer does not hold to the schema: {problem}.")
        return found

    def _problem(self, value: Any) -> str | None:
        if self.schema is None:
            return None if isinstance(value, dict) else "it is no object"
        try:
            first = next(iter(validator(self.schema).iter_errors(value)), None)
        except UnicodeEncodeError:
            return "it holds half a character"
        if first is None:
            return None
        place = "".join(f"[{step!r}]" for step in first.instance_path)
        # Not the library's message: it holds the value, and that is as long as it likes.
        return f"'{first.kind.name}' fails at {place or 'the top'}"
