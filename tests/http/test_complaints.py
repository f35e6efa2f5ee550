"""Bodies that are no request: what is told about them, in words about the body."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from claude_server.core.errors import InvalidRequest
from claude_server.dialects.chat import wire
from claude_server.dialects.chat.wire import ChatRequest
from claude_server.http.admin.wire.cli_tools import ToolConfigUpdate
from claude_server.http.admin.wire.mcp import McpServerIn, McpServerName
from claude_server.http.complaints import field_errors, invalid

MESSAGES = [{"role": "user", "content": "hi"}]
Path = tuple[str | int, ...]


def refusal(given: bytes | dict[str, Any], kind: type[BaseModel] = ChatRequest) -> InvalidRequest:
    raw = given if isinstance(given, bytes) else json.dumps(given).encode()
    with pytest.raises(ValidationError) as raised:
        kind.model_validate_json(raw)
    error = invalid(raised.value, raw)
    assert type(error) is InvalidRequest
    return error


def sentence(given: bytes | dict[str, Any]) -> tuple[str, str | None]:
    error = refusal(given)
    return error.message, error.param


@pytest.mark.parametrize("text", [b"", b"{", b"hi", b'{"messages": [{"content": "\\ud800"}]}', b"\xff"])
def test_a_body_that_is_not_json(text: bytes) -> None:
    message, param = sentence(text)
    assert message.startswith("The body is not valid JSON: ")
    assert message.endswith(".")
    assert param is None


@pytest.mark.parametrize(
    ("text", "kind"),
    [(b"[]", "a list"), (b"null", "null"), (b'"hi"', "a string"), (b"5", "a number"), (b"true", "a boolean")],
)
def test_a_body_of_another_kind(text: bytes, kind: str) -> None:
    assert sentence(text) == (f"The body must be an object, not {kind}.", None)


@pytest.mark.parametrize(
    ("given", "message", "param"),
    [
        ({}, "'messages' is missing.", "messages"),
        (
            {"messages": MESSAGES, "n": 0},
            "'n' must be 1 or more.",
            "n",
        ),
        (
            {"messages": [*MESSAGES, {"role": "robot"}]},
            "'messages[1].role' must be 'developer', 'system', 'user', 'assistant', 'tool' or 'function'.",
            "messages[1].role",
        ),
        (
            {"messages": MESSAGES, "stream_options": {"include_usage": 1}},
            "'stream_options.include_usage' must be true or false, not a number.",
            "stream_options.include_usage",
        ),
    ],
)
def test_where_a_body_is_wrong(given: dict[str, Any], message: str, param: str) -> None:
    assert sentence(given) == (message, param)


@pytest.mark.parametrize(
    ("content", "param"),
    [
        (5, "messages[0].content"),
        ({"type": "text"}, "messages[0].content"),
        ([5], "messages[0].content[0]"),
        ([{"type": 5}], "messages[0].content[0].type"),
        ([{"type": "text", "text": "a"}, {"text": "b"}], "messages[0].content[1].type"),
        ([{"type": "text", "text": 5}], "messages[0].content[0].text"),
    ],
)
def test_where_content_is_wrong(content: Any, param: str) -> None:
    # Content is one of two kinds: the place is in what was sent, not in our models.
    message, found = sentence({"messages": [{"role": "user", "content": content}]})
    assert found == param
    assert message.startswith(f"'{param}' ")


@pytest.mark.parametrize(
    "given",
    [
        *(
            {"messages": [{"role": "user", "content": "x"}], name: [1] * 999}
            for name in ("tools", "functions")
        ),
        {"messages": [1] * 999},
        {"messages": [{"role": "user", "content": [1] * 999}]},
        {"messages": [{"role": "assistant", "tool_calls": [1] * 999}]},
        {"messages": MESSAGES, "stop": [1] * 999},
        {"messages": MESSAGES, "system": [1] * 999},
    ],
)
def test_complaints_are_not_as_many_as_what_is_wrong(given: dict[str, Any]) -> None:
    """Each takes a kilobyte: a body of some megabytes would take all memory, and a minute."""
    with pytest.raises(ValidationError) as raised:
        ChatRequest.model_validate(given)
    assert raised.value.error_count() <= 2


def test_nothing_that_was_sent_is_repeated() -> None:
    message, _ = sentence({"messages": "SECRET"})
    assert "SECRET" not in message


@pytest.mark.parametrize(
    ("given", "details"),
    [
        (b"{", [("", "json_invalid", None)]),
        (b"[]", [("", "model_type", None)]),
        ({"messages": MESSAGES, "n": "x" * 101}, [("n", "int_type", None)]),
        (b'{"messages": [{"role": "user"}], "n": -1' + b"0" * 20 + b"}", [("n", "greater_than_equal", None)]),
        ({"messages": MESSAGES, "n": 9.5}, [("n", "int_type", 9.5)]),
        ({"messages": [{"role": "robot"}] * 30}, [("messages.0.role", "literal_error", "robot")]),
    ],
)
def test_what_is_wrong_as_data(given: bytes | dict[str, Any], details: list[tuple[str, str, Any]]) -> None:
    told = refusal(given).details
    assert [(item["field"], item["type"], item["input"]) for item in told] == details
    assert all(item["message"] for item in told)


def test_twenty_complaints_are_enough() -> None:
    names = {field.alias or name for name, field in ChatRequest.model_fields.items()} - {"thinking"}
    given = {name: {"no": ["such", "thing"]} for name in names - {"user"}}
    raw = json.dumps(given).encode()
    with pytest.raises(ValidationError) as raised:
        ChatRequest.model_validate_json(raw)
    assert len(field_errors(raised.value, raw)) > 20
    assert len(refusal(raw).details) == 20


WHERE_IT_IS_OF_SEVERAL_KINDS: list[tuple[str, Any, str, str]] = [
    ("stop", 1, "stop", "must be a string or a list, not a number"),
    ("stop", [1], "stop[0]", "must be a string, not a number"),
    ("stop", ["a"] * 5, "stop", "may have 4 items at most"),
    ("stop_sequences", "a", "stop_sequences", "must be a list, not a string"),
    ("tool_choice", "f", "tool_choice", "must be 'none', 'auto' or 'required', or an object"),
    ("tool_choice", 5, "tool_choice", "must be 'none', 'auto' or 'required', or an object, not a number"),
    ("tool_choice", {}, "tool_choice.function", "is missing"),
    (
        "tool_choice",
        {"type": "tools", "name": "f"},
        "tool_choice.type",
        "must be 'function' or 'allowed_tools'",
    ),
    ("tool_choice", {"type": "function", "name": "f"}, "tool_choice.function", "is missing"),
    ("tool_choice", {"type": "function", "function": {}}, "tool_choice.function.name", "is missing"),
    ("tool_choice", {"type": "allowed_tools"}, "tool_choice.allowed_tools", "is missing"),
    (
        "tool_choice",
        {"type": 5, "function": {"name": 5}},
        "tool_choice.type",
        "must be 'function' or 'allowed_tools', not a number",
    ),
    ("function_call", {"name": 5}, "function_call.name", "must be a string, not a number"),
    ("system", [{"type": "image"}], "system[0].type", "must be 'text'"),
    ("system", [{"type": "text"}], "system[0].text", "is missing"),
    ("user", 5, "user", "must be a string or an object, not a number"),
    ("safety_identifier", {}, "safety_identifier", "must be a string, not an object"),
    ("metadata", {"a b": 5}, "metadata.a b", "must be a string, not a number"),
    ("temperature", True, "temperature", "must be a number, not a boolean"),
    ("temperature", "0.5", "temperature", "must be a number, not a string"),
    ("temperature", 2.5, "temperature", "must be 2 or less"),
    ("top_p", True, "top_p", "must be a number, not a boolean"),
    ("n", 1.5, "n", "must be a whole number"),
    ("session_id", "", "session_id", "must have 1 or more characters"),
    ("session_id", "x" * 257, "session_id", "may have 256 characters at most"),
    ("messages", [], "messages", "must have 1 or more items"),
    (
        "messages",
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"uri": "x"}}]}],
        "messages[0].content[0].image_url.url",
        "is missing",
    ),
    (
        "messages",
        [{"role": "user", "content": [{"type": "image_url", "image_url": 5}]}],
        "messages[0].content[0].image_url",
        "must be an object or a string, not a number",
    ),
    (
        "response_format",
        {"type": "json_schema", "json_schema": {"schema": {}}},
        "response_format.json_schema.name",
        "is missing",
    ),
    (
        "response_format",
        {"type": "json_schema", "json_schema": {"name": "a", "schema": 5}},
        "response_format.json_schema.schema",
        "must be an object, not a number",
    ),
]


@pytest.mark.parametrize(("name", "value", "param", "says"), WHERE_IT_IS_OF_SEVERAL_KINDS)
def test_the_true_reason_comes_first(name: str, value: Any, param: str, says: str) -> None:
    assert sentence({"messages": MESSAGES, name: value}) == (f"'{param}' {says}.", param)


# The whole model

_CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
_FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
_PARTS = [
    {"type": "text", "text": "a", "refusal": "r"},
    {"type": "image_url", "image_url": {"url": "u"}},
    {"type": "image_url", "image_url": "u"},
    {"type": "file", "file": {"file_data": "d", "file_id": "i", "filename": "n"}},
]
_WHOLE: dict[str, Any] = {
    "messages": [
        {"role": "user", "content": "hi", "name": "n"},
        {"role": "user", "content": _PARTS},
        {
            "role": "assistant",
            "content": None,
            "refusal": "r",
            "reasoning_details": [],
            "tool_calls": [_CALL, _CALL],
        },
        {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "tool", "content": "r", "tool_call_id": "c"},
    ],
    **{"model": "m", "stream": True, "stream_options": {"include_usage": True}, "n": 1},
    **{"max_tokens": 1, "max_completion_tokens": 1, "temperature": 1.0, "top_p": 1.0},
    **{"reasoning_effort": "low", "verbosity": "low", "parallel_tool_calls": True},
    "tools": [{"type": "function", "function": _FUNCTION}],
    "functions": [_FUNCTION],
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "a", "description": "d", "schema": {}},
    },
    **{"metadata": {"a": "b"}, "user": "u", "safety_identifier": "s", "prompt_cache_key": "k"},
    **{"service_tier": "auto", "prompt_cache_retention": "24h", "stop_sequences": ["a"], "thinking": {}},
    **{"session_id": "s", "enable_tools": True, "stream_mode": "live"},
}
_NAMED = {"type": "function", "function": {"name": "f"}}
_ALLOWED = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [_NAMED]}}
# The fields that may be of several kinds, once each.
_FIRST = {"stop": "a", "tool_choice": "auto", "function_call": "auto", "system": "s"}
CHATS: list[dict[str, Any]] = [
    {**_WHOLE, **_FIRST},
    {"messages": MESSAGES, "stop": ["a"], "function_call": {"name": "f"}, "user": {"id": "u"}},
    {"messages": MESSAGES, "system": [{"type": "text", "text": "a"}], "tool_choice": _NAMED},
    {"messages": MESSAGES, "tool_choice": _ALLOWED},
]
OTHERS: list[tuple[type[BaseModel], dict[str, Any]]] = [
    (McpServerName, {"server_name": "a"}),
    (
        McpServerIn,
        {"name": "a", "command": "c", "args": ["a"], "env": {"A": "b"}, "description": "d", "enabled": True}
        | {"type": "http", "url": "u", "headers": {"a": "b"}},
    ),
    (ToolConfigUpdate, {"allowed_tools": ["a"], "disallowed_tools": ["b"], "session_id": "s"}),
]
WRONG: list[Any] = [
    *(None, True, 5, -5, 0.5, 10**30, "", "x", "y" * 300, [], {}, [1], [None], ["x"] * 9, [[]], [{}]),
    *({"x": 1}, {"type": "x"}, {"type": 1}, {"name": 1}, {"function": {}}, {"type": "allowed_tools"}),
    *([{"type": "text"}], [{"type": 1}], {"type": "function", "function": {"name": []}}),
]
INSIDES = (
    *(name for name, kind in vars(wire).items() if isinstance(kind, type) and issubclass(kind, BaseModel)),
    *("list[", "dict[", "str]", "Literal", "literal[", "tagged-union", "union", "constrained", "function-"),
    *("Strict", "Input should", "instance of", "expected here", "nullable", "json-or-python", "Error"),
)


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """The paths of all values below a value."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in steps:
        yield (*path, step)
        yield from places(inner, (*path, step))


def changed(body: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(body))
    parent: Any = made
    for step in path[:-1]:
        parent = parent[step]
    parent[path[-1]] = value
    return made


def written(path: Path) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


def all_wrong(kind: type[BaseModel], body: dict[str, Any]) -> Iterator[tuple[Path, bytes]]:
    """Bodies with one place that is wrong, and that place."""
    for path in places(body):
        for value in WRONG:
            raw = json.dumps(changed(body, path, value)).encode()
            try:
                kind.model_validate_json(raw)
            except ValidationError:
                yield path, raw


@pytest.mark.parametrize(("kind", "body"), [*((ChatRequest, chat) for chat in CHATS), *OTHERS])
def test_what_is_told_is_about_the_body(kind: type[BaseModel], body: dict[str, Any]) -> None:
    """Wherever it is wrong: the place is in the body, and nothing of our models is seen."""
    kind.model_validate(body)
    count = 0
    for path, raw in all_wrong(kind, body):
        count += 1
        error = refusal(raw, kind)
        sent = [*places(json.loads(raw))]
        known = {written(place) for place in sent}
        missing = error.message.endswith(" is missing.")
        assert error.param is not None and error.message.startswith(f"'{error.param}' "), raw
        assert error.param.rpartition(".")[0] in known if missing and "." in error.param else True, raw
        assert missing or error.param in known, (error.param, raw)
        assert error.param.startswith(written(path)), (error.param, path, raw)
        told = [error.message, *(item["message"] for item in error.details)]
        assert not [word for word in INSIDES for text in told if word in text], (told, raw)
        fields = {".".join(map(str, place)) for place in sent}
        for item in error.details:
            assert item["message"] == "is missing" or item["field"] in fields, (item, raw)
    assert count > 5 * len(body)


def test_the_bodies_have_every_field() -> None:
    seen: set[str] = set()
    for chat in CHATS:
        seen |= {str(step) for place in places(chat) for step in place}
    models = [
        kind
        for kind in vars(wire).values()
        if isinstance(kind, type) and issubclass(kind, BaseModel) and _is_of_a_request(kind)
    ]
    wanted = {field.alias or name for kind in models for name, field in kind.model_fields.items()}
    assert len(models) > 15 and wanted <= seen


def _is_of_a_request(kind: type[BaseModel]) -> bool:
    schema = ChatRequest.model_json_schema()
    return kind is ChatRequest or kind.__name__ in schema["$defs"]


def test_a_key_that_is_long_is_cut() -> None:
    message, param = sentence({"messages": MESSAGES, "metadata": {"k" * 100_000: 5}})
    assert len(message) < 300 and param == f"metadata.{'k' * 100}"
