"""Reads JSON as strictly as the other programs on the way do, and within bounds. Pure."""

from __future__ import annotations

import json
import math
from typing import Any

# As deep as a request's body may be.
_MAX_DEPTH = 200
# More values than a long conversation with many tools has. The parsers make some 500,000 a second, and hold
# the interpreter while they do.
MAX_VALUES = 100_000
_TOO_LARGE = "it holds a number that is too large"
_TOO_MANY = "it holds too many values"
_TOO_DEEP = "it is nested too deeply"
# Others read a number as a double, which ends here.
_DOUBLE_DIGITS = 309


class NotStrictJson(ValueError):
    """The text is no JSON, or holds what another program can't read; the message says why."""


def loads(text: str) -> Any:
    """Parse a JSON text. Raises NotStrictJson.

    Python reads NaN and Infinity, which are not JSON, and makes infinity of 1e999; written again, each of
    them breaks the line that it is in.
    """
    if len(text) > MAX_VALUES and has_too_many_values(text.encode("utf-8", "surrogatepass")):
        raise NotStrictJson(_TOO_MANY)
    try:
        value = json.loads(text, parse_constant=_constant, parse_float=_float, parse_int=_int)
    except NotStrictJson:
        raise
    except RecursionError:
        raise NotStrictJson(_TOO_DEEP) from None
    except ValueError:
        raise NotStrictJson("it is not valid JSON") from None
    check(value)
    return value


def check(value: Any) -> None:
    """See that a parsed value can be written again, and read by others. Raises NotStrictJson."""
    level = [value]
    for _ in range(_MAX_DEPTH + 1):
        deeper: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                deeper.extend(item.values())
            elif isinstance(item, list):
                deeper.extend(item)
            elif isinstance(item, float) and not math.isfinite(item):
                raise NotStrictJson("it holds a number that is none, or too large")
        if not deeper:
            return
        level = deeper
    raise NotStrictJson(_TOO_DEEP)


def has_too_many_values(raw: bytes) -> bool:
    """Does a JSON text in UTF-8 hold more than MAX_VALUES values? What is no JSON is judged somehow."""
    if _openings(raw) < MAX_VALUES:
        return False
    # Without escapes, every second piece between quotes lies outside the strings.
    plain = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    pieces = plain.split(b'"', 2 * MAX_VALUES)
    return len(pieces) > 2 * MAX_VALUES or _openings(b"".join(pieces[::2])) >= MAX_VALUES


def _openings(raw: bytes) -> int:
    """Each value but the first comes after one of these."""
    return sum(map(raw.count, (b",", b"[", b"{")))


def _constant(name: str) -> Any:
    raise NotStrictJson(f"{name} is no number")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise NotStrictJson(_TOO_LARGE)
    return value


def _int(text: str) -> int:
    if len(text) >= _DOUBLE_DIGITS and math.isinf(float(text)):
        raise NotStrictJson(_TOO_LARGE)
    return int(text)
