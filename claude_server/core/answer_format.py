"""The format that an answer must have, and the check against it. Pure."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jsonschema_rs

from claude_server.core.errors import InvalidAnswer

_FENCE = "```"
# Longest schema, in characters, about which anything is kept.
_CACHE_MAX_CHARS = 64 * 1024
# Schema parts times answer characters; this much takes some tenths of a second.
_MAX_CHECK_COST = 5_000_000
# Compiling a pattern takes time quadratic in its length; this much takes some tens of milliseconds.
_MAX_PATTERN_COST = (32 * 1024) ** 2
_MAX_PATTERNS = 200
# A pattern in a schema comes from the client: one that would run for ever is given up. A dozen characters can
# ask for a program of megabytes; one of this size is made in less than a millisecond.
_LIGHT = jsonschema_rs.FancyRegexOptions(backtrack_limit=100_000, size_limit=64 * 1024)
_MAX_LIGHT_PATTERNS = 32
# For a process with limits of its own.
_HEAVY = jsonschema_rs.FancyRegexOptions(backtrack_limit=100_000, size_limit=64 * 1024 * 1024)
_REPEATED = re.compile(r"\{\d+(,\d*)?\}")
# What is in these is data, whatever it looks like.
_DATA = frozenset({"const", "enum", "default", "examples"})
_REFERENCES = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})
_PROBLEMS = (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError)


class InvalidSchema(Exception):
    """The schema is not valid; the text says why."""


def check_schema(schema: str, *, patterns: bool) -> None:
    """See that a JSON text is a schema; nothing is fetched for it. Its patterns are looked at only where
    answers will be held against them: programs disagree about what is one. Raises InvalidSchema."""
    known = len(schema) <= _CACHE_MAX_CHARS
    problem = _cached_problem(schema, patterns) if known else _problem(schema, patterns)
    if problem is not None:
        raise InvalidSchema(problem)


@lru_cache(256)
def _cached_problem(schema: str, patterns: bool) -> str | None:
    return _problem(schema, patterns)


def _problem(schema: str, patterns: bool) -> str | None:
    loaded = json.loads(schema)
    try:
        _build(loaded, keywords={"pattern": _Unchecked, "patternProperties": _Unchecked})
    except InvalidSchema as error:
        return str(error)
    return _patterns_problem(_patterns(loaded)) if patterns else None


class _Unchecked:
    """A keyword that isn't compiled."""

    def __init__(self, parent: Any, value: Any, path: Any) -> None: ...

    def validate(self, instance: Any) -> None: ...


def _patterns_problem(patterns: list[str]) -> str | None:
    if len(patterns) > _MAX_PATTERNS:
        return f"it has more than {_MAX_PATTERNS} patterns"
    if sum(len(pattern) ** 2 for pattern in patterns) > _MAX_PATTERN_COST:
        return "its patterns are too long"
    for pattern in patterns:
        try:
            # How often something is repeated makes it large, not wrong.
            _build({"pattern": _REPEATED.sub("{1}", pattern)}, pattern_options=_LIGHT)
        except InvalidSchema:
            return f"{json.dumps(pattern[:100])} is no pattern, or too large a one"
    return None


def _patterns(schema: Any) -> list[str]:
    """All patterns in a schema, once each."""
    found: dict[str, None] = {}
    left = [schema]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            if isinstance(part.get("pattern"), str):
                found[part["pattern"]] = None
            if isinstance(part.get("patternProperties"), dict):
                found |= dict.fromkeys(part["patternProperties"])
            left += [value for name, value in part.items() if name not in _DATA]
        elif isinstance(part, list):
            left += part
    return list(found)


def validator(schema: str, *, light: bool = True) -> jsonschema_rs.Validator:
    """The validator for a JSON text. `light`: only patterns that are compiled at once. Raises InvalidSchema.

    None is kept: a small schema is compiled in a tenth of a millisecond, and some few bytes of one can ask
    for megabytes.
    """
    return _build(json.loads(schema), pattern_options=_LIGHT if light else _HEAVY)


def _build(loaded: Any, **options: Any) -> jsonschema_rs.Validator:
    try:
        return jsonschema_rs.validator_for(loaded, offline=True, **options)
    except _PROBLEMS as error:
        why = str(getattr(error, "message", error)).splitlines()[0]
    try:
        # One of an older draft that doesn't say so, or not in a way that is known.
        plain = {k: v for k, v in loaded.items() if k != "$schema"}
        return jsonschema_rs.Draft7Validator(plain, offline=True, **options)
    except _PROBLEMS:
        raise InvalidSchema(why) from None


@lru_cache(256)
def _has_light_patterns(schema: str) -> bool:
    """Can the schema's patterns be compiled at once?"""
    patterns = _patterns(json.loads(schema))
    if len(patterns) > _MAX_LIGHT_PATTERNS:
        return False
    try:
        validator(schema)
    except InvalidSchema:
        return False
    return True


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


def _unfenced(text: str) -> str:
    """The text between code fences, if it lies in them."""
    if not text.startswith(_FENCE) or not text.endswith(_FENCE):
        return text
    language, newline, inside = text[len(_FENCE) : -len(_FENCE)].partition("\n")
    return inside.strip() if newline and language.strip() in ("", "json") else text


def _reject_constant(name: str) -> None:
    """Python reads NaN and Infinity, which are not JSON."""
    raise ValueError(name)


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """JSON that conforms to `schema`, a JSON text; None: any JSON object."""

    schema: str | None = None

    def is_expensive(self, text: str) -> bool:
        """May the check take long? A few lines of schema can refer to each other without end, or hold
        patterns that take seconds to compile."""
        if self.schema is None:
            return False
        return (
            len(self.schema) > _CACHE_MAX_CHARS
            or _schema_cost(self.schema) * len(text) > _MAX_CHECK_COST
            or not _has_light_patterns(self.schema)
        )

    def validated(self, text: str, *, light: bool = True) -> str:
        """The JSON in an answer, without fences around it. `light` off: however long it takes. Raises
        InvalidAnswer."""
        found = _unfenced(text.strip())
        try:
            value = json.loads(found, parse_constant=_reject_constant)
        except (ValueError, RecursionError):
            raise InvalidAnswer("The model's answer is not the JSON that was asked for.") from None
        problem = self._problem(value, light)
        if problem is not None:
            raise InvalidAnswer(f"The model's answer does not hold to the schema: {problem}.")
        return found

    def _problem(self, value: Any, light: bool) -> str | None:
        if self.schema is None:
            return None if isinstance(value, dict) else "it is no object"
        try:
            first = next(iter(validator(self.schema, light=light).iter_errors(value)), None)
        except InvalidSchema:
            return "it can't be held against this schema's patterns"
        except UnicodeEncodeError:
            return "it holds half a character"
        if first is None:
            return None
        place = "".join(f"[{step!r}]" for step in first.instance_path)
        # Not the library's message: it holds the value, and that is as long as it likes.
        return f"'{first.kind.name}' fails at {place or 'the top'}"
