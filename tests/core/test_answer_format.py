"""The form that an answer must have."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from claude_server.core.answer_format import AnswerFormat, InvalidSchema, check_schema, validator
from claude_server.core.errors import InvalidAnswer
from tests.growth import grows_no_faster_than_its_input

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
        (OBJECT, "```json\n\n\n {}\n \n```\n", "{}"),
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
        check_schema(json.dumps(schema), patterns=True)
    assert str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "pattern", [r"\p{L}{200}", "^.{0,10000}$", "((a{50}){50}){50}", "(?=a)b{3,}", r"\u{1F600}{9}", "(", "[^]"]
)
def test_a_tools_patterns_are_not_ours_to_judge(pattern: str) -> None:
    check_schema(json.dumps({"pattern": pattern, "patternProperties": {pattern: {}}}), patterns=False)
    with pytest.raises(InvalidSchema):
        check_schema(json.dumps({"patternProperties": {pattern: {"type": 5}}}), patterns=False)


@pytest.mark.parametrize("name", ["pattern", "patternProperties"])
def test_what_only_looks_like_a_pattern(name: str) -> None:
    schema = {"properties": {name: {"type": "string"}}, "enum": [{name: "("}], "default": {name: "("}}
    check_schema(json.dumps(schema), patterns=True)


LARGE = [rf"\p{{L}}{{{200 + number}}}" for number in range(10)]


@pytest.mark.parametrize("patterns", [LARGE, [f"^{n}$" for n in range(100)]], ids=["large", "many"])
def test_patterns_that_take_long_are_compiled_elsewhere(patterns: list[str]) -> None:
    """The ten of them, some 300 bytes, would take seconds and 100 MB."""
    form = AnswerFormat(json.dumps({"anyOf": [{"pattern": each} for each in patterns]}))
    began = time.thread_time()
    assert form.schema is not None
    check_schema(form.schema, patterns=True)
    assert form.is_expensive("1")
    # Some ten milliseconds, on a machine that may have more to do.
    assert time.thread_time() - began < 0.5


def test_usual_patterns_are_not_expensive() -> None:
    usual = [r"^[\w.+-]{1,64}@[\w-]{1,63}\.[a-z]{2,}$", r"^\d{4}-\d{2}-\d{2}$", "^[A-Z]{2,3}$", r"^\S+$"]
    form = AnswerFormat(json.dumps({"anyOf": [{"pattern": each} for each in usual]}))
    assert not form.is_expensive("1") and form.validated('"2024-01-01"')


@pytest.mark.parametrize("unit", ["\n", " ", "`", "```\n", "```json\n"])
def test_the_time_for_a_fence_goes_by_the_length(unit: str) -> None:
    def check(text: str) -> None:
        with pytest.raises(InvalidAnswer):
            OBJECT.validated(text)

    grows_no_faster_than_its_input(check, lambda size: "```json\n" + unit * (size // len(unit)) + "x")
