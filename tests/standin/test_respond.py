"""The answers of a stand-in that nobody scripted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from claude_server.standin.log import ApiRequest
from claude_server.standin.respond import default_reply, minimal_instance
from claude_server.standin.script import Text, ToolUse

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
TOOLS = [{"name": "first", "input_schema": {}}, {"name": "second", "input_schema": SCHEMA}]


def request(**body: Any) -> ApiRequest:
    body.setdefault("messages", [{"role": "user", "content": "hello"}])
    return ApiRequest(1, 0.0, "POST", "/v1/messages", body=body)


def test_the_last_own_text_is_named() -> None:
    content = [
        {"type": "text", "text": "first"},
        {"type": "text", "text": "second"},
        {"type": "text", "text": "<system-reminder>\nnever mind\n</system-reminder>\n"},
    ]
    assert default_reply(request(messages=[{"role": "user", "content": content}])).blocks == [
        Text("You said: second")
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [("42", "42"), ([{"type": "text", "text": "4"}, {"type": "text", "text": "2"}], "42"), (None, "")],
)
def test_a_tool_result_is_named(content: Any, said: str) -> None:
    block = {"type": "tool_result", "tool_use_id": "x", "content": content}
    reply = default_reply(request(messages=[{"role": "user", "content": [block]}]))
    assert reply.blocks == [Text(f"The tool said: {said}")]


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ({"type": "any"}, ToolUse("first", {})),
        ({"type": "tool", "name": "second"}, ToolUse("second", {"a": ""})),
        ({"type": "auto"}, Text("You said: hello")),
    ],
)
def test_a_forced_tool_is_called(choice: dict[str, str], called: object) -> None:
    assert default_reply(request(tools=TOOLS, tool_choice=choice)).blocks == [called]


def test_the_tool_for_structured_output_is_called() -> None:
    tools = [*TOOLS, {"name": "StructuredOutput", "input_schema": SCHEMA}]
    assert default_reply(request(tools=tools)).blocks == [ToolUse("StructuredOutput", {"a": ""})]


def test_the_tool_for_structured_output_is_called_once() -> None:
    tools = [*TOOLS, {"name": "StructuredOutput", "input_schema": SCHEMA}]
    call = {"type": "tool_use", "id": "x", "name": "StructuredOutput", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "x", "content": "done"}
    asked = {"role": "user", "content": "hello"}
    talk = [asked, {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    assert default_reply(request(tools=tools, messages=talk)).blocks == [Text("The tool said: done")]
    # Another tool's result doesn't stand for it, and the next question asks anew.
    other = {"role": "assistant", "content": [{**call, "name": "first"}]}
    wanted = [ToolUse("StructuredOutput", {"a": ""})]
    assert default_reply(request(tools=tools, messages=[asked, other, talk[2]])).blocks == wanted
    assert default_reply(request(tools=tools, messages=[*talk, asked])).blocks == wanted


def test_a_format_is_kept() -> None:
    wanted = {"format": {"type": "json_schema", "schema": SCHEMA}}
    (block,) = default_reply(request(output_config=wanted)).blocks
    assert isinstance(block, Text)
    assert json.loads(block.text) == {"a": ""}


def test_effort_alone_is_no_format() -> None:
    assert default_reply(request(output_config={"effort": "low"})).blocks == [Text("You said: hello")]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}, "required": ["a"]}, {"a": 0}),
        ({"properties": {"a": {"type": "null"}}, "required": ["a"]}, {"a": None}),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [False, False]),
        ({"type": "array"}, []),
        ({"type": "string", "minLength": 3}, "xxx"),
        ({"type": ["string", "null"]}, ""),
        ({"type": "integer", "minimum": 5}, 5),
        ({"type": "integer", "exclusiveMinimum": 5}, 6),
        ({"type": "number", "maximum": -2}, -2),
        ({"enum": ["x", "y"]}, "x"),
        ({"const": 7}, 7),
        ({"type": "string", "default": "d"}, "d"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 0),
        ({"oneOf": [{"const": 1}]}, 1),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"const": 3}}}, 3),
        ({"$ref": "#/$defs/Missing"}, None),
        (
            {
                "allOf": [
                    {"$ref": "#/$defs/A"},
                    {"type": "object", "properties": {"b": {"const": 2}}, "required": ["b"]},
                ],
                "$defs": {"A": {"properties": {"a": {"const": 1}}, "required": ["a"]}},
            },
            {"a": 1, "b": 2},
        ),
        (True, None),
        ({}, None),
    ],
)
def test_a_small_value_for_a_schema(schema: Any, value: Any) -> None:
    assert minimal_instance(schema) == value


def test_a_schema_that_contains_itself_ends() -> None:
    schema = {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]}
    value = minimal_instance(schema)
    depth = 0
    while value is not None:
        value = value["next"]
        depth += 1
    assert 0 < depth <= 32
