"""The form that an answer must have, and whether it has it. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jsonschema_rs

from turns.errors import InvalidAnswer

_FENCED = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*", re.DOTALL)
# Characters of a schema whose validator is kept for the next request.
_KEPT_UP_TO = 64 * 1024
_REFERENCES = ("ref", "dynamicRef", "recursiveRef")
# A pattern in a schema comes from the client: one that would run for ever is given up.
_PATTERNS = jsonschema_rs.FancyRegexOptions(backtrack_limit=100_000)


class BrokenSchema(Exception):
    """A schema that is none; the text says why."""


def validator(schema: str) -> jsonschema_rs.Validator:
    """The validator for a JSON text. Nothing is fetched for it. Raises BrokenSchema."""
    return _validator(schema) if len(schema) > _KEPT_UP_TO else _kept_validator(schema)


@lru_cache(256)
def _kept_validator(schema: str) -> jsonschema_rs.Validator:
    return _validator(schema)


def _validator(schema: str) -> jsonschema_rs.Validator:
    loaded = json.loads(schema)
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
        raise BrokenSchema(why) from None


def _no_number(name: str) -> None:
    """Python reads NaN and Infinity, which are not JSON."""
    raise ValueError(name)


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """JSON that holds to the JSON text `schema`; None: any JSON object."""

    schema: str | None = None

    @property
    def refers(self) -> bool:
        """Has it references? Without them a check takes no longer than the schema and the answer are long."""
        return any(f'"${word}"' in (self.schema or "") for word in _REFERENCES)

    def checked(self, text: str) -> str:
        """The JSON in an answer, without fences around it. Raises InvalidAnswer."""
        fenced = _FENCED.fullmatch(text)
        found = fenced[1] if fenced else text.strip()
        try:
            value = json.loads(found, parse_constant=_no_number)
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
