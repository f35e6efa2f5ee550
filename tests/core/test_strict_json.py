"""JSON that every program on the way reads alike, and that nobody needs long for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_server.core import strict_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(VALUES)
def test_what_is_json_is_read(value: Any) -> None:
    assert strict_json.loads(json.dumps(value)) == value
    strict_json.check(value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not valid"),
        ("{", "not valid"),
        ("NaN", "no number"),
        ('{"a": [Infinity]}', "no number"),
        ("-Infinity", "no number"),
        ("1e999", "too large"),
        ("[-1e999]", "too large"),
        ("9" * 309, "too large"),
        ("-" + "9" * 5000, "too large"),
        ("[" * 202 + "]" * 202, "too deeply"),
        ("[" * 90_000, "too deeply"),
        ('{"a":' * 1000 + "1" + "}" * 1000, "too deeply"),
        ("[" + "1," * 200_000 + "1]", "too many values"),
        ('["",' * 60_000, "too many values"),
    ],
)
def test_what_is_not(text: str, why: str) -> None:
    with pytest.raises(strict_json.NotStrictJson, match=why):
        strict_json.loads(text)


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": [{"b": float("-inf")}]}])
def test_a_parsed_value_that_cannot_be_written(value: Any) -> None:
    with pytest.raises(strict_json.NotStrictJson, match="number"):
        strict_json.check(value)


@given(st.lists(st.text('"\\,[{é', max_size=6), max_size=5), st.integers(0, 3))
def test_only_values_count_not_what_is_in_texts(texts: list[str], extra: int) -> None:
    value = [*texts, *([None] * extra), {"a,[{": texts}]
    raw = json.dumps(value).encode()
    count = 3 + 2 * len(texts) + extra
    with pytest.MonkeyPatch.context() as patched:
        # The empty list and the objects open nothing that counts, so the bound is a little above the count.
        patched.setattr(strict_json, "MAX_VALUES", count + 4)
        assert not strict_json.has_too_many_values(raw)
        patched.setattr(strict_json, "MAX_VALUES", count - 1)
        assert strict_json.has_too_many_values(raw)


def test_a_long_text_is_one_value() -> None:
    text = json.dumps({"code": 'f(a, [b], {"c": "\\\\"}), ' * 100_000})
    assert strict_json.loads(text) == json.loads(text)
