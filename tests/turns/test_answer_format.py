"""The form that an answer must have."""

from __future__ import annotations

import json
from typing import Any

import pytest

from turns.answer_format import AnswerFormat, InvalidSchema, validator
from turns.errors import InvalidAnswer

OBJECT = AnswerFormat()
CITY = AnswerFormat('{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}')
NEXT = {"anyOf": [{"$ref": "#/$defs/N"}, {"type": "null"}]}
NODE = {"type": "object", "properties": {"next": NEXT}, "required": ["next"]}
LISTS = AnswerFormat(json.dumps({"$defs": {"N": NODE}, "$ref": "#/$defs/N"}))


def deep(levels: int) -> str:
    return '{"next":' * levels + "null" + "}" * levels


@pytest.mark.parametrize(
    ("form", "text", "found"),
    [
        (OBJECT, '{"a": 1}', '{"a": 1}'),
        (OBJECT, " \n{}\n", "{}"),
        (OBJECT, '```json\n{"a": 1}\n```', '{"a": 1}'),
        (OBJECT, '\n```\n{"a": "```"}```\n', '{"a": "```"}'),
        (OBJECT, '{"é": "\\ud83d\\ude00"}', '{"é": "\\ud83d\\ude00"}'),
        (CITY, '{"city": "Oslo", "more": null}', '{"city": "Oslo", "more": null}'),
        (CITY, '```json\n{"city": ""}\n```', '{"city": ""}'),
        (AnswerFormat("{}"), "5", "5"),
        (AnswerFormat('{"type":"integer"}'), "1.0", "1.0"),
        (LISTS, deep(3), deep(3)),
        (LISTS, deep(300), deep(300)),
    ],
)
def test_answers(form: AnswerFormat, text: str, found: str) -> None:
    assert form.validated(text) == found


PATTERN = AnswerFormat('{"type":"string","pattern":"^(?=a)(a|aa)+$"}')
NO_JSON = "is not the JSON that was asked for."


@pytest.mark.parametrize(
    ("form", "text", "says"),
    [
        (OBJECT, "", NO_JSON),
        (OBJECT, "Sure!", NO_JSON),
        (OBJECT, 'Sure: {"a": 1}', NO_JSON),
        (OBJECT, '{"a": 1} {"b": 2}', NO_JSON),
        (OBJECT, "{'a': 1}", NO_JSON),
        (OBJECT, '{"a": 1', NO_JSON),
        # Python reads these; JSON has no such numbers.
        (OBJECT, '{"a": NaN}', NO_JSON),
        (OBJECT, '{"a": -Infinity}', NO_JSON),
        (OBJECT, "[" * 200_000, NO_JSON),
        (OBJECT, "[]", "does not hold to the schema: it is no object."),
        (OBJECT, "null", "does not hold to the schema: it is no object."),
        (CITY, "{}", "does not hold to the schema: 'required' fails at the top."),
        (CITY, '{"city": 5}', "does not hold to the schema: 'type' fails at ['city']."),
        (LISTS, '{"next": {"next": 5}}', "does not hold to the schema: 'anyOf' fails at ['next']."),
        (AnswerFormat('{"items":{"type":"null"}}'), "[null, 1]", "'type' fails at [1]."),
        (
            AnswerFormat('{"type":"string"}'),
            '"\\ud800"',
            "does not hold to the schema: it holds half a character.",
        ),
        # One that would be looked for until the end of days.
        (PATTERN, json.dumps("a" * 5000 + "b"), "'pattern' fails at the top."),
    ],
)
def test_answers_without_the_form(form: AnswerFormat, text: str, says: str) -> None:
    with pytest.raises(InvalidAnswer) as raised:
        form.validated(text)
    assert raised.value.message == f"The model's answer {says}" or raised.value.message.endswith(says)
    # What was said is the client's, and nothing for the log; it may be long, too.
    assert len(raised.value.message) < 200 and "Sure" not in raised.value.message


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({}, 5, None),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "null"}]}, [None], [1]),
        # Draft 7 that doesn't say so, and a draft that nobody knows.
        ({"items": [{"type": "null"}]}, [None], [1]),
        ({"$schema": "https://example.com/mine", "type": "null"}, None, 1),
        (
            {"$schema": "https://json-schema.org/draft/2020-12/schema", "prefixItems": [{"type": "null"}]},
            [None],
            [1],
        ),
        ({"type": "string", "format": "date"}, "2020-01-01", 5),
    ],
)
def test_schemas_of_any_draft(schema: Any, good: Any, bad: Any) -> None:
    made = validator(json.dumps(schema))
    assert made.is_valid(good)
    assert bad is None or not made.is_valid(bad)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "strin"},
        {"properties": 5},
        {"$ref": "#/$defs/none"},
        {"$ref": "http://127.0.0.1:9/x"},
        {"$ref": "file:///etc/passwd"},
        {"pattern": "("},
        # Megabytes of these would hold up everybody for minutes.
        {"items": [{"pattern": "(a|b)*" * 6000}]},
        {"patternProperties": {"(a|b)*" * 6000: {}}},
        {"allOf": [{"pattern": "(a|b)*" * 600}] * 100},
        {"$schema": "http://json-schema.org/draft-07/schema#", "required": "x"},
        {"const": "\ud800", "type": 5},
    ],
)
def test_what_is_no_schema(schema: Any) -> None:
    with pytest.raises(InvalidSchema) as raised:
        validator(json.dumps(schema))
    assert str(raised.value) and "\n" not in str(raised.value)


def test_a_validator_is_kept_unless_it_is_large() -> None:
    small, large = '{"title":"kept"}', json.dumps({"title": "x" * 70_000})
    assert validator(small) is validator(small)
    assert validator(large) is not validator(large)
