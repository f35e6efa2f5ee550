"""Requests of the Messages API as turns."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from claude_server.core.errors import InvalidRequest, UnsupportedParameter
from claude_server.core.model import (
    ApiBlock,
    Image,
    Message,
    RedactedThinking,
    Thinking,
    ToolChoice,
    ToolResult,
    ToolUse,
    TurnRequest,
)
from claude_server.dialects.base import Around, Policy
from claude_server.dialects.messages.door import MESSAGES, needs, prepare
from claude_server.dialects.messages.wire import CountRequest, MessagesRequest

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
PDF = "JVBERi0xLjQKJUVPRgo="
CALL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}
TOOL = {"name": "f", "description": "", "input_schema": {"$schema": "x", "type": "object"}}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def prepared(**body: Any) -> tuple[TurnRequest, tuple[str, ...]]:
    policy = body.pop("policy", Policy())
    asked = MessagesRequest.model_validate({"max_tokens": 100, "messages": [user("hi")], **body})
    needs(asked)
    made = prepare(asked, Around("0" * 32, 7, policy))
    (turn,) = made.turns
    return turn, made.ignored


def turn(**body: Any) -> TurnRequest:
    return prepared(**body)[0]


def test_the_plainest() -> None:
    made = turn(model="opus", system="Be kind.", stop_sequences=["END", ""])
    assert made == TurnRequest(
        "msg_" + "0" * 32,
        Message("user", ("hi",)),
        system="Be kind.",
        model="opus",
        max_output_tokens=100,
        stop=("END",),
        buffered=True,
    )
    assert not turn(stream=True).buffered


def test_a_whole_conversation_stays_as_it_is() -> None:
    messages = [
        user([{"type": "text", "text": "q", "cache_control": {"type": "ephemeral"}}]),
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "sig"},
                {"type": "redacted_thinking", "data": "xyz"},
                {"type": "text", "text": "I look."},
                CALL,
            ],
        },
        user([{"type": "tool_result", "tool_use_id": "toolu_1", "content": "no", "is_error": True}]),
    ]
    made = turn(messages=messages, tools=[TOOL])
    assert made.history == (
        Message("user", ("q",)),
        Message(
            "assistant",
            (Thinking("hm", "sig"), RedactedThinking("xyz"), "I look.", ToolUse("toolu_1", "f", {"a": 1})),
        ),
    )
    assert made.question == Message("user", (ToolResult("toolu_1", ("no",), is_error=True),))


def test_thinking_without_a_signature_is_left_out() -> None:
    thoughts = [{"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "a"}]
    made = turn(messages=[user("q"), {"role": "assistant", "content": thoughts}, user("r")])
    assert made.history[1].blocks == ("a",)


def test_documents_and_their_like_pass_unchanged() -> None:
    blocks: list[dict[str, Any]] = [
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "x"},
            "title": "T",
            "context": "C",
            "citations": {"enabled": True},
        },
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "a"}]}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
        },
        {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
        {"type": "search_result", "source": "s", "title": "T", "content": [{"type": "text", "text": "a"}]},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
    ]
    marked = [{**block, "cache_control": {"type": "ephemeral"}} for block in blocks]
    assert [json.loads(b.json) for b in turn(messages=[user(marked)]).question.blocks] == blocks  # type: ignore[union-attr]
    called = {"role": "assistant", "content": [CALL]}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": blocks}
    (answer,) = turn(messages=[user("q"), called, user([result])], tools=[TOOL]).question.blocks
    assert isinstance(answer, ToolResult)
    assert [json.loads(b.json) for b in answer.blocks] == blocks  # type: ignore[union-attr]


def test_images_are_looked_at_and_cited_texts_keep_their_places() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    assert turn(messages=[user([image])]).question.blocks == (Image("image/png", PIXEL),)
    cited = {"type": "text", "text": "green", "citations": [{"type": "char_location"}]}
    made = turn(messages=[user("q"), {"role": "assistant", "content": [cited]}, user("r")])
    (said,) = made.history[1].blocks
    assert isinstance(said, ApiBlock) and json.loads(said.json) == cited


def test_system_prompts() -> None:
    blocks = [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=1"},
        {"type": "text", "text": "A", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "text", "text": " "},
        {"type": "text", "text": "B"},
    ]
    first = {"role": "system", "content": "C"}
    made = turn(system=blocks, messages=[first, user("q"), {"role": "system", "content": "D"}])
    assert made.system == "A\n\nB\n\nC" and made.long_cache
    assert made.question.blocks == ("q", "<system-message>\nD\n</system-message>")
    assert len(made.notices) == 1
    assert not turn().long_cache


@pytest.mark.parametrize(
    ("kind", "name", "argument"),
    [
        ("bash_20250124", "bash", "command"),
        ("text_editor_20250728", "str_replace_based_edit_tool", "old_str"),
        ("memory_20250818", "memory", "new_path"),
    ],
)
def test_tools_that_the_client_runs(kind: str, name: str, argument: str) -> None:
    made = turn(tools=[{"type": kind, "name": name, "max_characters": 9}])
    (tool,) = made.tools
    assert tool.name == name and tool.description and argument in json.loads(tool.schema)["properties"]
    assert kind in made.notices[0]


def test_tools_of_the_clients_own() -> None:
    made = turn(tools=[{**TOOL, "type": "custom", "eager_input_streaming": True, "name": "n" * 128}])
    (tool,) = made.tools
    assert (tool.name, json.loads(tool.schema)) == ("n" * 128, {"type": "object"})
    left = turn(tools=[TOOL, {"type": "tool_search_tool_regex_20251119", "name": "tool_search"}])
    assert [tool.name for tool in left.tools] == ["f"] and "tool_search" in left.notices[0]


@pytest.mark.parametrize(
    ("choice", "made"),
    [
        ({"type": "auto"}, ToolChoice()),
        ({"type": "any", "disable_parallel_tool_use": True}, ToolChoice("any", None, parallel=False)),
        ({"type": "tool", "name": "f"}, ToolChoice("tool", "f")),
        ({"type": "none"}, ToolChoice("none")),
    ],
)
def test_choices(choice: dict[str, Any], made: ToolChoice) -> None:
    assert turn(tools=[TOOL], tool_choice=choice).tool_choice == made


@pytest.mark.parametrize(
    ("thinking", "thinks", "shows", "form"),
    [
        (None, True, False, ""),
        ({"type": "disabled"}, False, False, ""),
        ({"type": "adaptive"}, True, True, ""),
        (
            {"type": "adaptive", "display": "omitted"},
            True,
            True,
            '{"type":"adaptive","display":"omitted"}',
        ),
        (
            {"type": "enabled", "budget_tokens": 2000},
            True,
            True,
            '{"type":"enabled","budget_tokens":2000}',
        ),
    ],
)
def test_thinking(thinking: Any, thinks: bool, shows: bool, form: str) -> None:
    made = turn(thinking=thinking)
    assert (made.thinking, made.shows_thinking, made.thinking_form) == (thinks, shows, form)


def test_the_form_of_the_answer() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    form = {"type": "json_schema", "schema": schema}
    for body in ({"output_config": {"format": form, "effort": "low"}}, {"output_format": form}):
        made = turn(**body)
        assert made.answer is not None and json.loads(made.answer.schema or "") == schema
    assert turn(output_config={"effort": "max"}).effort == "max"


def test_what_has_no_effect_is_told() -> None:
    made, ignored = prepared(
        temperature=0.5, top_k=3, speed="fast", context_management={"edits": []}, something_new=1
    )
    assert set(ignored) == {"temperature", "top_k", "speed", "context_management"}
    assert (made.temperature, made.top_k) == (None, None)
    sampling = {"policy": Policy(sampling_models=("old*",)), "model": "old-1", "temperature": 0.5, "top_k": 3}
    made, ignored = prepared(**sampling)
    assert (made.temperature, made.top_k, ignored) == (0.5, 3, ())
    assert prepared(container=None, mcp_servers=[], betas=[], service_tier="auto")[1] == ()
    assert turn(service_tier="standard_only").service_tier == "standard_only"
    with pytest.raises(UnsupportedParameter):
        prepared(policy=Policy(strict=True), speed="fast")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"thread": {"type": "create"}}, "thread"),
        ({"container": "c"}, "container"),
        ({"mcp_servers": [{"name": "x"}]}, "mcp_servers"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools.0.type"),
        ({"tools": [{"type": "computer_20250124", "name": "computer"}]}, "tools.0.type"),
        ({"tools": [{"input_schema": {}}]}, "tools.0.name"),
        ({"tools": [TOOL, TOOL]}, "tools.1.name"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}}, "tool_choice"),
        ({"messages": [user("q"), {"role": "assistant", "content": "{"}]}, "messages"),
        ({"messages": [user([{"type": "container_upload"}])]}, "messages.0.content.0"),
        (
            {"messages": [user([{"type": "image", "source": {"type": "file", "file_id": "f"}}])]},
            "messages.0.content.0.source",
        ),
        (
            {"messages": [user([{"type": "document", "source": {"type": "base64", "data": PIXEL}}])]},
            "messages.0.content.0.source",
        ),
        (
            {"messages": [user([{"type": "image", "source": {"type": "base64", "data": "%"}}])]},
            "messages.0.content.0.source.data",
        ),
        ({"messages": [user([{"type": "image"}])]}, "messages.0.content.0.source"),
        ({"messages": [user([{"type": "text"}])]}, "messages.0.content.0.text"),
        (
            {"messages": [user([{"type": "tool_result", "tool_use_id": "t", "content": [{}]}])]},
            "messages.0.content.0.content.0",
        ),
        (
            {
                "messages": [
                    user("q"),
                    {"role": "assistant", "content": [{"type": "server_tool_use"}]},
                    user("r"),
                ]
            },
            "messages.1.content.0",
        ),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ({"messages": [user([{"type": "text", "text": "x"}] * 20_001)]}, "messages"),
    ],
)
def test_what_is_refused(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        turn(**body)
    assert raised.value.param == param


def test_the_shape_of_the_body() -> None:
    bodies: list[dict[str, Any]] = [
        {},
        {"max_tokens": 0},
        {"messages": []},
        {"temperature": 2},
        {"system": 3},
    ]
    for body in bodies:
        with pytest.raises(ValidationError):
            MessagesRequest.model_validate({"messages": [user("hi")], **body})
    # What is only counted has no limit.
    assert CountRequest.model_validate({"messages": [user("hi")]}).max_tokens is None


def test_every_field_has_its_rule() -> None:
    assert set(MessagesRequest.model_fields) <= set(MESSAGES.rules)
