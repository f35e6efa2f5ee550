"""Schemas of arguments as the API takes them."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_server.dialects.tool_schema import as_one_object, can_be_strict

A, B = {"properties": {"a": {"type": "string"}}}, {"properties": {"b": {"type": "integer"}}}
OBJECT: dict[str, Any] = {"type": "object"}


@pytest.mark.parametrize(
    ("schema", "expected", "words"),
    [
        (OBJECT, OBJECT, ()),
        ({**OBJECT, **A, "anyOf": [{"required": ["a"]}]}, {**OBJECT, **A}, ("anyOf",)),
        # A union, as zod writes it; the same by reference; and one that says more of what is there.
        (
            {**OBJECT, "oneOf": [A, B]},
            {**OBJECT, "properties": A["properties"] | B["properties"]},
            ("oneOf",),
        ),
        (
            {**OBJECT, "anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "http://x"}], "$defs": {"a": A}},
            {**OBJECT, **A, "$defs": {"a": A}},
            ("anyOf",),
        ),
        ({**OBJECT, **A, "anyOf": [{"properties": {"a": {"const": "x"}}}]}, {**OBJECT, **A}, ("anyOf",)),
        (
            {**OBJECT, "anyOf": [{"properties": {"k": {"const": n}}} for n in (1, 2, 1)]},
            {**OBJECT, "properties": {"k": {"anyOf": [{"const": 1}, {"const": 2}]}}},
            ("anyOf",),
        ),
        (
            {**OBJECT, "required": ["x"], "allOf": [{**A, "required": ["a"]}, {"required": ["x"]}, True]},
            {**OBJECT, **A, "required": ["x", "a"]},
            ("allOf",),
        ),
        (
            {**OBJECT, **A, "additionalProperties": False, "anyOf": [B]},
            {**OBJECT, **A, "additionalProperties": False},
            ("anyOf",),
        ),
    ],
)
def test_alternatives_at_the_top(
    schema: dict[str, Any], expected: dict[str, Any], words: tuple[str, ...]
) -> None:
    assert as_one_object(schema) == (expected, words)


_values = st.sampled_from([{"type": "string"}, {"type": "integer"}, {"const": 1}, True])
_parts = st.fixed_dictionaries(
    {},
    optional={
        "properties": st.dictionaries(st.sampled_from("abc"), _values),
        "required": st.lists(st.sampled_from("abc"), unique=True),
        "additionalProperties": st.booleans(),
    },
)


def _closed(part: dict[str, Any]) -> dict[str, Any]:
    return {**part, "additionalProperties": False}


_combined = st.builds(
    lambda own, words: {"type": "object", **own, **words},
    _parts,
    st.dictionaries(
        st.sampled_from(["anyOf", "oneOf"]), st.lists(_parts.map(_closed), min_size=1, max_size=3)
    ),
)
_objects = st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["x", 1, 2, None]))


@given(schema=_combined, value=_objects)
def test_what_the_alternatives_took_is_still_taken(schema: dict[str, Any], value: dict[str, Any]) -> None:
    made, _ = as_one_object(schema)
    if jsonschema_rs.is_valid(schema, value):
        assert jsonschema_rs.is_valid(made, value)


CLOSED = {"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "additionalProperties": False}
TREE = {**CLOSED, "properties": {"sub": {"$ref": "#/$defs/t"}}}


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (CLOSED, True),
        ({**CLOSED, "properties": {"s": {"$ref": "#/$defs/s"}}, "$defs": {"s": CLOSED}}, True),
        ({"type": "object", "properties": {}}, False),
        ({**CLOSED, "properties": {"o": {"type": "object"}}}, False),
        ({**CLOSED, "properties": {"n": {"type": "integer", "minimum": 1}}}, False),
        ({**CLOSED, "properties": {"l": {"items": {"maxLength": 1}}}}, False),
        ({**CLOSED, "properties": {"u": {"anyOf": [{"pattern": "x"}]}}}, False),
        ({**CLOSED, "properties": {"x": True}}, False),
        ({**CLOSED, "properties": {"x": {"$ref": "http://x"}}}, False),
        ({**TREE, "$defs": {"t": TREE}}, False),
        ({**CLOSED, "properties": {f"p{n}": {"type": ["null", "string"]} for n in range(17)}}, False),
    ],
)
def test_what_the_api_holds_a_model_to(schema: dict[str, Any], strict: bool) -> None:
    assert can_be_strict(schema) is strict


def test_a_schema_that_grows_without_end_is_given_up() -> None:
    two = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(15)}
    assert not can_be_strict({**CLOSED, "$defs": two, "properties": {"x": {"$ref": "#/$defs/d0"}}})
    wide = {"type": "object", "anyOf": [{"properties": {"x": {"const": n}}} for n in range(1000)]}
    assert len(json.dumps(as_one_object(wide)[0])) < 2000
