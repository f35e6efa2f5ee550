"""What a turn needs of a worker."""

from __future__ import annotations

import json
from typing import Any

import pytest

from claude_server.core.answer_format import AnswerFormat, validator
from claude_server.core.model import (
    AttemptRequest,
    Message,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    TurnRequest,
)
from claude_server.engine.protocol.blocks import AnswerTool
from claude_server.engine.workers.attempt_spec import answer_tool, attempt_spec
from claude_server.engine.workers.state import WorkerConfig

Q = Message("user", ("Q",))
A, B = Tool("a", "does a", '{"type":"object"}'), Tool("b", "does b", '{"type":"object"}')
PLAIN = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}


def turn(**fields: Any) -> TurnRequest:
    return TurnRequest(**{"id": "t", "question": Q, **fields})


def config(history: tuple[Message, ...] = (), system: str = "", **fields: Any) -> WorkerConfig:
    return attempt_spec(AttemptRequest(turn(**fields), system, history)).config


def body(**fields: Any) -> Any:
    made = config(**fields).body
    return json.loads(made) if made else {}


def made_for(schema: Any, **fields: Any) -> AnswerTool:
    tool = answer_tool(turn(answer=AnswerFormat(json.dumps(schema)), **fields))
    assert tool is not None
    return tool


# The tool that takes the answer


@pytest.mark.parametrize(
    "schema",
    [
        PLAIN,
        {"$schema": "http://json-schema.org/draft-07/schema#", **PLAIN},
        {"type": "object"},
        {**PLAIN, "$defs": {"n": {"type": "null"}}, "properties": {"x": {"$ref": "#/$defs/n"}}},
        {"type": "object", "properties": {"anyOf": {"type": "null"}}},
    ],
)
def test_the_schema_of_an_object_is_that_of_the_arguments(schema: dict[str, Any]) -> None:
    tool = made_for(schema)
    expected = {key: value for key, value in schema.items() if key != "$schema"}
    assert not tool.wrapped and json.loads(tool.tool.schema) == expected


NODE = {
    "type": "object",
    "properties": {"v": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}},
    "required": ["v", "next"],
    "additionalProperties": False,
}
TREE = {"type": ["object", "null"], "properties": {"sub": {"$ref": "#"}}, "additionalProperties": False}
LIST = {"v": 1, "next": {"v": 2, "next": None}}
# schema, answers that hold to it, answers that don't
WRAPPED: list[tuple[dict[str, Any], list[Any], list[Any]]] = [
    ({}, [1, None, {"a": 1}], []),
    ({"type": "array", "items": {"type": "integer"}}, [[], [1, 2]], [{}, ["a"]]),
    ({"type": "string", "enum": ["a", "b"]}, ["a"], ["c", 1]),
    ({"anyOf": [{"type": "null"}, PLAIN]}, [None, {"x": 1}], [{"x": "1"}, 5]),
    ({**PLAIN, "allOf": [{"required": ["y"]}]}, [{"x": 1, "y": 2}], [{"x": 1}]),
    ({"properties": {"x": {"type": "integer"}}}, [{"x": 1}, 5], [{"x": "a"}]),
    # As pydantic writes a recursive model, and one at the top of it.
    ({"$defs": {"Node": NODE}, "$ref": "#/$defs/Node"}, [LIST], [{"v": 1}, {"v": 1, "next": {"v": 2}}]),
    ({"definitions": {"s": {"type": "string"}}, "$ref": "#/definitions/s"}, ["a"], [1]),
    (TREE, [None, {"sub": {"sub": None}}], [{"sub": 1}, {"sub": {"x": 1}}]),
    (
        {"anyOf": [{"type": "null"}, {"type": "array", "items": {"$ref": "#/anyOf/1"}}]},
        [None, [[], [[]]]],
        [[None], 1],
    ),
    ({"$defs": {"p": {"$anchor": "here", "type": "integer"}}, "$ref": "#here"}, [1], ["a"]),
    # What refers to its own name goes on doing so.
    (
        {"$id": "https://x.org/list", "$defs": {"i": {"type": "integer"}}, "anyOf": [{"$ref": "#/$defs/i"}]},
        [1],
        ["a"],
    ),
    (
        {
            "anyOf": [{"$ref": "#/$defs/in"}],
            "$defs": {
                "in": {
                    "$id": "https://x.org/in",
                    "items": {"$ref": "#/$defs/i"},
                    "$defs": {"i": {"type": "integer"}},
                }
            },
        },
        [[1]],
        [["a"]],
    ),
    # Names, not words of a schema.
    (
        {
            "anyOf": [
                {"type": "object", "properties": {"$ref": {"type": "string"}, "$id": {"type": "null"}}}
            ],
        },
        [{"$ref": "#/x", "$id": None}],
        [{"$ref": 1}, {"$id": "x"}],
    ),
    ({"$schema": "http://json-schema.org/draft-07/schema#", "type": "boolean"}, [True], [0]),
]


@pytest.mark.parametrize(("schema", "good", "bad"), WRAPPED)
def test_any_other_schema_is_that_of_an_argument(
    schema: dict[str, Any], good: list[Any], bad: list[Any]
) -> None:
    """Its references lead where they led."""
    tool = made_for(schema)
    assert tool.wrapped
    before, wrapped = validator(json.dumps(schema)), validator(tool.tool.schema)
    for value in good:
        assert before.is_valid(value) and wrapped.is_valid({"value": value})
    for value in bad:
        assert not before.is_valid(value) and not wrapped.is_valid({"value": value})
    assert not wrapped.is_valid({}) and not wrapped.is_valid(1)


@pytest.mark.parametrize(
    ("names", "name"),
    [
        ([], "json_answer"),
        (["a"], "json_answer"),
        (["json_answer"], "json_answer_"),
        (["json_answer_", "json_answer"], "json_answer__"),
        (["json_answer_"], "json_answer"),
    ],
)
def test_its_name_is_nobody_elses(names: list[str], name: str) -> None:
    assert made_for(PLAIN, tools=tuple(Tool(n, "", "{}") for n in names)).tool.name == name


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"answer": AnswerFormat()},
        # The client wants a call, and no answer.
        {"answer": AnswerFormat("{}"), "tools": (A,), "tool_choice": ToolChoice("any")},
        {"answer": AnswerFormat("{}"), "tools": (A,), "tool_choice": ToolChoice("tool", "a")},
    ],
)
def test_no_tool_for_the_answer(fields: dict[str, Any]) -> None:
    assert answer_tool(turn(**fields)) is None
    assert "json_answer" not in [tool.name for tool in config(**fields).tools]


# What is told to the process


def test_a_plain_turn() -> None:
    assert config() == WorkerConfig()
    made = config(system="S", model="m", effort="low", max_output_tokens=2000, thinking=False)
    assert made == WorkerConfig("m", "S", "low", 2000, False)


AB, ANY, NOT_PARALLEL = (B, A), {"type": "any"}, {"disable_parallel_tool_use": True}
ANSWER = AnswerFormat(json.dumps(PLAIN))
ONLY_THE_ANSWER = {"type": "tool", "name": "json_answer", "disable_parallel_tool_use": True}


@pytest.mark.parametrize(
    ("fields", "choice", "thinks"),
    [
        ({}, None, True),
        ({"tool_choice": ToolChoice("none")}, None, True),
        ({"tools": AB}, None, True),
        ({"tools": AB, "tool_choice": ToolChoice("none")}, {"type": "none"}, True),
        ({"tools": AB, "tool_choice": ToolChoice("none", None, False)}, {"type": "none"}, True),
        ({"tools": AB, "tool_choice": ToolChoice(parallel=False)}, {"type": "auto", **NOT_PARALLEL}, True),
        ({"tools": AB, "tool_choice": ToolChoice("any")}, ANY, False),
        ({"tools": AB, "tool_choice": ToolChoice("any", None, False)}, {**ANY, **NOT_PARALLEL}, False),
        ({"tools": AB, "tool_choice": ToolChoice("tool", "b")}, {"type": "tool", "name": "b"}, False),
        (
            {"tools": AB, "tool_choice": ToolChoice("tool", "b", False)},
            {"type": "tool", "name": "b", **NOT_PARALLEL},
            False,
        ),
        ({"answer": AnswerFormat()}, None, True),
        ({"answer": AnswerFormat(), "tools": AB}, None, True),
        ({"answer": ANSWER}, ONLY_THE_ANSWER, False),
        # The model calls one of the client's tools, or gives the answer.
        ({"answer": ANSWER, "tools": AB}, ANY, False),
        (
            {"answer": ANSWER, "tools": AB, "tool_choice": ToolChoice(parallel=False)},
            {**ANY, **NOT_PARALLEL},
            False,
        ),
        ({"answer": ANSWER, "tools": AB, "tool_choice": ToolChoice("none")}, ONLY_THE_ANSWER, False),
        (
            {"answer": ANSWER, "tools": AB, "tool_choice": ToolChoice("tool", "b")},
            {"type": "tool", "name": "b"},
            False,
        ),
    ],
)
def test_the_choice_in_the_apis_words(
    fields: dict[str, Any], choice: dict[str, Any] | None, thinks: bool
) -> None:
    """The API takes no thinking with a call that is forced."""
    made = config(**fields)
    assert (json.loads(made.body)["tool_choice"] if made.body else None) == choice
    assert made.thinking is thinks
    assert not config(thinking=False, **fields).thinking


def test_tools_are_in_the_callers_order() -> None:
    """What the API caches begins with them."""
    names = [tool.name for tool in config(tools=(Tool("z", "", "{}"), B, A), answer=ANSWER).tools]
    assert names == ["z", "b", "a", "json_answer"]


CALLED = (
    Q,
    Message("assistant", ("So", ToolUse("1", "f", {}), ToolUse("2", "e", {}), ToolUse("3", "f", {}))),
)
RESULTS = Message("user", (ToolResult("1", ("r",)), "go on"))


@pytest.mark.parametrize(
    ("history", "fields", "names"),
    [
        (CALLED, {"question": RESULTS}, ["e", "f"]),
        # In a session the calls were made before.
        ((), {"question": RESULTS}, ["tool"]),
        ((), {"question": RESULTS, "tools": (A,)}, ["a"]),
        ((), {}, []),
    ],
)
def test_calls_of_before_need_tools(
    history: tuple[Message, ...], fields: dict[str, Any], names: list[str]
) -> None:
    """The API takes a conversation with calls in it only if there are tools; none of them may be called."""
    made = config(history, **fields)
    assert [tool.name for tool in made.tools] == names
    chosen = json.loads(made.body)["tool_choice"] if made.body else None
    assert chosen == ({"type": "none"} if names and not fields.get("tools") else None)
    assert made.thinking


@pytest.mark.parametrize(
    ("stop", "told"),
    [((), None), (("END", "\n"), ["END"]), ((" ", "\n\n"), None), ((" a", "b "), [" a", "b "])],
)
def test_blank_stops_are_not_told(stop: tuple[str, ...], told: list[str] | None) -> None:
    assert body(stop=stop).get("stop_sequences") == told


@pytest.mark.parametrize("fields", [{"temperature": 0.0}, {"top_p": 0.5}, {"temperature": 1.0, "top_p": 0.0}])
def test_sampling_goes_without_thinking(fields: dict[str, Any]) -> None:
    assert body(**fields) == fields
    assert not config(**fields).thinking


@pytest.mark.parametrize(("limit", "thinks"), [(None, True), (1025, True), (1024, False), (1, False)])
def test_a_limit_that_leaves_no_room_for_thinking(limit: int | None, thinks: bool) -> None:
    assert config(max_output_tokens=limit) == WorkerConfig(max_output_tokens=limit, thinking=thinks)


def test_the_same_turn_needs_the_same() -> None:
    """Workers are matched by it."""
    fields: dict[str, Any] = {
        "tools": AB,
        "stop": ("x",),
        "temperature": 0.5,
        "tool_choice": ToolChoice("any"),
    }
    assert config(**fields) == config(**fields) and hash(config(**fields)) == hash(config(**fields))
    assert list(body(**fields)) == ["tool_choice", "stop_sequences", "temperature"]
