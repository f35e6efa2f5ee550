"""Names of arguments that the API doesn't take."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_server.core.answer_format import AnswerFormat, validator
from claude_server.core.model import AttemptRequest, Message, Tool, ToolUse, TurnRequest
from claude_server.engine.protocol.argument_names import ArgumentNames
from claude_server.engine.protocol.blocks import RenamedCall
from claude_server.engine.workers.attempt_spec import answer_tool


def tool(schema: dict[str, Any], name: str = "f") -> Tool:
    return Tool(name, "", json.dumps({"type": "object", **schema}))


def translated(*tools: Tool, history: tuple[Message, ...] = ()) -> AttemptRequest:
    turn = TurnRequest(id="t", question=Message("user", ("Q",)), tools=tools)
    return ArgumentNames.of(tools).request(AttemptRequest(turn, "", history))


def schema_of(made: AttemptRequest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(made.turn.tools[0].schema)
    return found


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["$filter", "@id", "full name"], ["filter", "id", "full_name"]),
        (["prénom", "a/b", "x" * 65], ["prenom", "a_b", "x" * 56]),
        (["名前", "値"], ["argument", "argument_2"]),
        (["a b", "a_b", "a  b", "$a b"], ["a_b_2", "a_b", "a_b_3", "a_b_4"]),
        (["", "__proto__", "a.b-c"], ["argument", "__proto__", "a.b-c"]),
    ],
)
def test_each_has_a_name_of_its_own(given: list[str], expected: list[str]) -> None:
    made = translated(tool({"properties": {name: {} for name in given}}))
    assert list(schema_of(made)["properties"]) == expected


def test_all_that_names_it_follows() -> None:
    schema = {
        "properties": {"a/b": {"type": "string"}, "c": {"$ref": "#/properties/a~1b"}, "d e": {"title": "D"}},
        "required": ["a/b", "c"],
        "dependentRequired": {"a/b": ["d e"]},
        "dependentSchemas": {"d e": {"required": ["a/b"]}},
        "if": {"properties": {"a/b": {"const": "x"}}},
        "then": {"required": ["d e"]},
    }
    assert schema_of(translated(tool(schema))) == {
        "type": "object",
        "properties": {
            "a_b": {"type": "string", "title": "a/b"},
            "c": {"$ref": "#/properties/a_b"},
            "d_e": {"title": "D"},
        },
        "required": ["a_b", "c"],
        "dependentRequired": {"a_b": ["d_e"]},
        "dependentSchemas": {"d_e": {"required": ["a_b"]}},
        "if": {"properties": {"a_b": {"const": "x"}}},
        "then": {"required": ["d_e"]},
    }


def test_calls_of_the_history_and_nothing_else() -> None:
    """What is nested keeps its names, and so does a request that has none of those."""
    calls = (ToolUse("1", "f", {"a b": {"a b": 1}}), ToolUse("2", "g", {"a b": 1}))
    history = (Message("user", ("Q",)), Message("assistant", calls))
    made = translated(tool({"properties": {"a b": {"properties": {"a b": {}}}}}), history=history)
    assert made.history[1].blocks == (ToolUse("1", "f", {"a_b": {"a b": 1}}), calls[1])
    assert schema_of(made)["properties"]["a_b"]["properties"] == {"a b": {}}
    plain = AttemptRequest(
        TurnRequest(id="t", question=history[0], tools=(tool({"properties": {"a": {}}}),)), "", history
    )
    assert ArgumentNames.of(plain.turn.tools).request(plain) is plain


@given(st.dictionaries(st.text(), st.integers(), max_size=6), st.integers(1, 5))
def test_there_and_back(values: dict[str, int], size: int) -> None:
    one = tool({"properties": {name: {} for name in values}})
    names = ArgumentNames.of([one])
    sent = names.by_tool.get("f", {})
    theirs = {sent.get(name, name): value for name, value in values.items()}
    assert len(theirs) == len(values) and all(re.fullmatch(r"[a-zA-Z0-9_.-]{1,64}", name) for name in theirs)
    block = RenamedCall(names.back("f"))
    text = json.dumps(theirs)
    for start in range(0, len(text), size):
        assert block.feed(text[start : start + size]) == ""
    assert json.loads(block.flush()) == values


@pytest.mark.parametrize("text", ['{"a_b": 1, "c', "[1]", "5", '{"a_b": NaN}', ""])
def test_what_is_no_object_is_told_as_it_is(text: str) -> None:
    block = RenamedCall({"a_b": "a b"})
    block.feed(text)
    assert block.flush() == text


def test_an_answer_with_such_names_is_one_argument() -> None:
    schema = {"type": "object", "properties": {"full name": {"type": "string"}}}
    turn = TurnRequest(id="t", question=Message("user", ("Q",)), answer=AnswerFormat(json.dumps(schema)))
    made = answer_tool(turn)
    assert made is not None and made.wrapped
    assert validator(made.tool.schema).is_valid({"value": {"full name": "x"}})
