"""What is wrong with a body, told about the body that was sent and not about our models of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails, from_json

from claude_server.core.errors import InvalidRequest
from claude_server.dialects.base import FieldError

_Path = tuple[str | int, ...]
# Limits of what is told: complaints in an answer, and characters of an echoed value and of a key.
_MAX_TOLD = 20
_MAX_CHARS = 100
# Keeps out infinity and NaN, which are not JSON, and huge integers.
_MAX_NUMBER = 10**15
# By pydantic's type of an error: what the value must be, ...
_KINDS = {
    "string_type": "a string",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
}
# ... or what else is wrong with it, from the error's context.
_PROBLEMS = {
    "missing": "is missing",
    "greater_than_equal": "must be {ge:g} or more",
    "less_than_equal": "must be {le:g} or less",
    "too_long": "may have {max_length} items at most",
    "too_short": "must have {min_length} or more items",
    "string_too_long": "may have {max_length} characters at most",
    "string_too_short": "must have {min_length} or more characters",
}
_UNKNOWN = "is not what is expected here"


@dataclass(frozen=True, slots=True)
class _Complaint:
    """`unions`: for each union on the way, how far into the path it is, and the variant that complains.
    `wanted`: what the value must be instead, if it is of another kind; else `problem` says what is wrong."""

    path: _Path
    unions: tuple[tuple[int, str], ...]
    type: str
    wanted: tuple[str, ...]
    problem: str
    value: Any

    @property
    def sentence(self) -> str:
        """What is to be said of the value at `path`."""
        if not self.wanted:
            return self.problem
        several = ", or " if any(" or " in words for words in self.wanted) else " or "
        right = several.join(self.wanted)
        return f"must be {right}, not {_kind(self.value)}" if self._of_another_kind else f"must be {right}"

    @property
    def _of_another_kind(self) -> bool:
        # A word that is none of those listed is a string, and 1.5 is a number: "not a string" would confuse.
        if isinstance(self.value, str):
            return not any(words.startswith("'") for words in self.wanted)
        return not (isinstance(self.value, float) and any("number" in words for words in self.wanted))


def invalid(error: ValidationError, raw: bytes) -> InvalidRequest:
    """The InvalidRequest for a body that is not what is expected: a sentence about what is wrong first, and
    the first complaints as data. `raw` is the body."""
    found = _complaints(error, raw)
    first = found[0]
    param = _param(first.path)
    if first.type == "json_invalid":
        made = InvalidRequest(f"The body is not valid JSON: {first.problem}.")
    elif param:
        made = InvalidRequest(f"'{param}' {first.sentence}.", param=param)
    else:
        made = InvalidRequest(f"The body {first.sentence}.")
    made.details = tuple(
        {**dict(told), "input": _short(told.input)} for told in map(_field_error, found[:_MAX_TOLD])
    )
    return made


def field_errors(error: ValidationError, raw: bytes) -> list[FieldError]:
    """All that is wrong with a body."""
    return [_field_error(complaint) for complaint in _complaints(error, raw)]


def _complaints(error: ValidationError, raw: bytes) -> list[_Complaint]:
    """In the order of the fields; where a value may be of several kinds, about the one that was meant."""
    found = error.errors(include_url=False)
    if found[0]["type"] == "json_invalid":
        problem = found[0]["msg"].removeprefix("Invalid JSON: ")
        # Not the whole body once more, which pydantic has as the value.
        return [_Complaint((), (), "json_invalid", (), problem, None)]
    body = from_json(raw)
    return _resolved([_complaint(item, body) for item in found])


def _complaint(item: ErrorDetails, body: Any) -> _Complaint:
    path, unions = _located(item, body)
    context = item.get("ctx", {})
    kind = item["type"]
    wanted = context["expected"] if kind == "literal_error" else _KINDS.get(kind)
    problem = _PROBLEMS.get(kind, _UNKNOWN).format_map(context)
    return _Complaint(path, unions, kind, (wanted,) if wanted else (), problem, item["input"])


def _located(item: ErrorDetails, body: Any) -> tuple[_Path, tuple[tuple[int, str], ...]]:
    """Where in the body the error is, and which unions of ours are on the way: pydantic's steps are keys and
    places of the body, and names of variants."""
    path: list[str | int] = []
    unions: list[tuple[int, str]] = []
    value = body
    for number, step in enumerate(item["loc"]):
        if isinstance(value, dict) and step in value:
            value = value[str(step)]
            path.append(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
            path.append(step)
        elif item["type"] == "missing" and number == len(item["loc"]) - 1:
            path.append(step)
        else:
            unions.append((len(path), str(step)))
    return tuple(path), tuple(unions)


def _resolved(found: Iterable[_Complaint], level: int = 0) -> list[_Complaint]:
    """Put in place of what all variants of a union complain about what is wrong with the one that was meant.
    `level`: how many unions on the way are resolved."""

    def union(complaint: _Complaint) -> _Path | None:
        here = complaint.unions[level:]
        return complaint.path[: here[0][0]] if here else None

    result: list[_Complaint] = []
    for place, group in groupby(found, union):
        if place is None:
            result += group
            continue
        variants: dict[str, list[_Complaint]] = {}
        for complaint in group:
            variants.setdefault(complaint.unions[level][1], []).append(complaint)
        result += _meant(place, [_resolved(each, level + 1) for each in variants.values()])
    return result


def _meant(place: _Path, variants: Sequence[list[_Complaint]]) -> list[_Complaint]:
    """The complaints of the variant that was meant, or one that says what is possible."""
    # The value is of the right kind where a complaint is about what is inside, or about more than the kind.
    likely = [each for each in variants if any(c.path != place or not c.wanted for c in each)]
    if not likely:
        return [_joined([complaint for each in variants for complaint in each])]
    type_at = (*place, "type")
    fitting = [each for each in likely if all(complaint.path != type_at for complaint in each)]
    if not fitting:
        return [_joined([c for each in likely for c in each if c.path == type_at])]
    return max(fitting, key=lambda each: (max(len(complaint.path) for complaint in each), -len(each)))


def _joined(found: Sequence[_Complaint]) -> _Complaint:
    first = found[0]
    wanted = tuple(dict.fromkeys(words for complaint in found for words in complaint.wanted))
    return _Complaint(first.path, (), first.type, wanted, first.problem, first.value)


def _field_error(complaint: _Complaint) -> FieldError:
    message = f"Invalid JSON: {complaint.problem}" if complaint.type == "json_invalid" else complaint.sentence
    field = ".".join(str(step)[:_MAX_CHARS] for step in complaint.path)
    return FieldError(field=field, message=message, type=complaint.type, input=complaint.value)


def _param(path: _Path) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f"{'.' if text else ''}{step[:_MAX_CHARS]}"
    return text


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    kinds: Mapping[type, str] = {bool: "a boolean", str: "a string", list: "a list", dict: "an object"}
    return kinds.get(type(value), "a number")


def _short(value: Any) -> Any:
    """The value if it is short enough to be echoed, else None: a conversation is not."""
    if isinstance(value, str):
        return value if len(value) <= _MAX_CHARS else None
    return value if isinstance(value, int | float) and abs(value) < _MAX_NUMBER else None
