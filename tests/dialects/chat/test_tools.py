"""Tools, the choice among them, and the form of the answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from claude_server.core.answer_format import AnswerFormat
from claude_server.core.errors import InvalidRequest
from claude_server.core.model import Tool, ToolChoice
from claude_server.dialects.chat.request import to_turn
from claude_server.dialects.chat.wire import ChatRequest
from tests.dialects.chat.asking import around, asked, refusal, turn
from tests.growth import grows_no_faster_than_its_input

NO_ARGUMENTS = {"type": "object", "properties": {}}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def function(name: str, parameters: Any = None, **fields: Any) -> dict[str, Any]:
    return {"name": name, **({} if parameters is None else {"parameters": parameters}), **fields}


def tool(name: str, parameters: Any = None, **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": function(name, parameters, **fields)}


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def allowed(mode: str, *names: str) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [named(n) for n in names]}}


AB = {"tools": [tool("a"), tool("b")]}


@pytest.mark.parametrize(
    ("parameters", "schema"),
    [
        (None, NO_ARGUMENTS),
        ({}, NO_ARGUMENTS),
        (CITY, CITY),
        # LangChain and the Vercel AI SDK say which draft it is; the API takes that for a property.
        ({"$schema": "http://json-schema.org/draft-07/schema#", **CITY}, CITY),
        ({"$schema": "https://json-schema.org/draft/2020-12/schema", **CITY}, CITY),
        ({"$schema": "https://example.com/of-our-own", **CITY}, CITY),
        ({"properties": {}}, {"type": "object", "properties": {}}),
        # As draft 7 has it, without saying so.
        (
            {"properties": {"x": {"items": [{"type": "string"}]}}},
            {"type": "object", "properties": {"x": {"items": [{"type": "string"}]}}},
        ),
    ],
)
def test_schemas(parameters: Any, schema: dict[str, Any]) -> None:
    for fields in (
        {"tools": [tool("f", parameters, description="does f", strict=True)]},
        {"functions": [function("f", parameters, description="does f")]},
    ):
        (made,) = turn(**fields).tools
        assert (made.name, made.description, json.loads(made.schema)) == ("f", "does f", schema)


@pytest.mark.parametrize("name", ["Bash", "mcp__x__y", "a-b_C9", "x" * 64])
def test_names(name: str) -> None:
    assert [made.name for made in turn(tools=[tool(name)]).tools] == [name]


BROKEN: list[dict[str, Any]] = [
    {"type": "string"},
    {"type": ["object", "null"]},
    {"type": None},
    {"properties": {"x": {"type": "strin"}}},
    {"properties": []},
    {"properties": {"x": {"$ref": "#/$defs/none"}}},
    {"properties": {"x": {"$ref": "http://127.0.0.1:9/x"}}},
    {"properties": {"x": {"$ref": "file:///etc/passwd"}}},
    {"required": "x"},
]


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        *(
            ({"tools": [tool("ok"), tool(name)]}, "tools[1].function.name", name[:80])
            for name in ("", "a b", "a.b", "ü", "x" * 65, "x" * 1000, "a\n")
        ),
        ({"functions": [function("a b")]}, "functions[0].name", "a b"),
        ({"tools": [tool("a"), tool("b"), tool("a")]}, "tools[2].function.name", "two tools named 'a'"),
        *(({"tools": [tool("f", broken)]}, "tools[0].function.parameters", "'f'") for broken in BROKEN),
        ({"tools": [tool("f")], "tool_choice": named("g")}, "tool_choice", "'g'"),
        ({"tool_choice": named("g")}, "tool_choice", "'g'"),
        ({"tools": [], "tool_choice": "required"}, "tool_choice", "no 'tools'"),
        ({**AB, "tool_choice": allowed("auto", "c")}, "tool_choice", "'c'"),
        ({**AB, "tool_choice": allowed("required")}, "tool_choice", "no 'tools'"),
        ({"functions": [function("f")], "function_call": {"name": "g"}}, "tool_choice", "'g'"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], param: str, says: str) -> None:
    error = refusal(**fields)
    assert (type(error), error.param) == (InvalidRequest, param)
    assert says in error.message and len(error.message) < 300


OLD = {"functions": [function("a"), function("b")]}


@pytest.mark.parametrize(
    ("fields", "names", "choice"),
    [
        ({}, "", ToolChoice()),
        ({"tools": [], "tool_choice": "auto", "parallel_tool_calls": False}, "", ToolChoice()),
        ({"tool_choice": "none"}, "", ToolChoice("none")),
        (AB, "ab", ToolChoice()),
        ({**AB, "tool_choice": "auto", "parallel_tool_calls": True}, "ab", ToolChoice()),
        ({**AB, "parallel_tool_calls": False}, "ab", ToolChoice(parallel=False)),
        ({**AB, "tool_choice": "none"}, "ab", ToolChoice("none")),
        ({**AB, "tool_choice": "required"}, "ab", ToolChoice("any")),
        (
            {**AB, "tool_choice": "required", "parallel_tool_calls": False},
            "ab",
            ToolChoice("any", None, False),
        ),
        ({**AB, "tool_choice": named("b")}, "ab", ToolChoice("tool", "b")),
        # As LangChain asks for structured output.
        (
            {**AB, "tool_choice": named("b"), "parallel_tool_calls": False},
            "ab",
            ToolChoice("tool", "b", False),
        ),
        ({**AB, "tool_choice": allowed("auto", "b")}, "b", ToolChoice()),
        ({**AB, "tool_choice": allowed("required", "b", "a")}, "ab", ToolChoice("any")),
        ({**AB, "tool_choice": allowed("auto")}, "", ToolChoice()),
        # The older form has one call in an answer.
        (OLD, "ab", ToolChoice(parallel=False)),
        ({**OLD, "function_call": "auto"}, "ab", ToolChoice(parallel=False)),
        ({**OLD, "function_call": "none"}, "ab", ToolChoice("none", None, False)),
        ({**OLD, "function_call": {"name": "a"}}, "ab", ToolChoice("tool", "a", False)),
        # The newer form wins.
        ({**AB, "functions": [function("c")], "function_call": {"name": "c"}}, "ab", ToolChoice()),
    ],
)
def test_choices(fields: dict[str, Any], names: str, choice: ToolChoice) -> None:
    made = turn(**fields)
    assert "".join(tool.name for tool in made.tools) == names
    assert made.tool_choice == choice


# The form of the answer


@pytest.mark.parametrize(
    ("form", "answer"),
    [
        (None, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, AnswerFormat()),
        *(
            (
                {"type": "json_schema", "json_schema": {"name": "x", "schema": CITY, **more}},
                AnswerFormat(json.dumps(CITY)),
            )
            for more in ({}, {"strict": True}, {"strict": None}, {"description": "d"})
        ),
        ({"type": "json_schema", "json_schema": {"name": "x"}}, AnswerFormat("{}")),
    ],
)
def test_the_form_of_the_answer(form: Any, answer: AnswerFormat | None) -> None:
    assert turn(response_format=form).answer == answer


@pytest.mark.parametrize(
    ("json_schema", "param"),
    [
        (None, "response_format.json_schema"),
        ({"name": "x", "schema": {"type": "strin"}}, "response_format.json_schema.schema"),
        ({"name": "x", "schema": {"$ref": "#/$defs/x"}}, "response_format.json_schema.schema"),
        ({"name": "x", "schema": {"$ref": "https://x.org/y"}}, "response_format.json_schema.schema"),
    ],
)
def test_a_form_that_is_broken(json_schema: Any, param: str) -> None:
    error = refusal(response_format={"type": "json_schema", "json_schema": json_schema})
    assert (type(error), error.param) == (InvalidRequest, param)


def test_tools_are_plain_values() -> None:
    """Workers are kept by them."""
    one, two = (turn(tools=[tool("f", CITY)]).tools for _ in range(2))
    assert one == two and len({*one, *two}) == 1
    assert one == (Tool("f", "", json.dumps(CITY)),)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_schema_with_what_is_no_number(number: str) -> None:
    """Written to the CLI, it would end its process."""
    schema = f'{{"type": "object", "properties": {{"a": {{"maximum": {number}}}}}}}'
    tool_body = f'"tools": [{{"type": "function", "function": {{"name": "f", "parameters": {schema}}}}}]'
    answer = (
        f'"response_format": {{"type": "json_schema", "json_schema": {{"name": "x", "schema": {schema}}}}}'
    )
    for field, place in (
        (tool_body, "tools[0].function.parameters"),
        (answer, "response_format.json_schema.schema"),
    ):
        body = f'{{"messages": [{{"role": "user", "content": "hi"}}], {field}}}'
        with pytest.raises(InvalidRequest, match="a number that is none") as raised:
            to_turn(ChatRequest.model_validate_json(body), around())
        assert raised.value.param == place


def test_the_time_for_allowed_tools_goes_by_their_number() -> None:
    def made(size: int) -> ChatRequest:
        names = [f"f{number}" for number in range(size)]
        return asked(tools=[tool(name) for name in names], tool_choice=allowed("auto", *names))

    grows_no_faster_than_its_input(lambda request: to_turn(request, around()), made, 1000)
