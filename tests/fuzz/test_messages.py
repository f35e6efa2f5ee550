"""Any messages and tools make a turn that the API takes, or an error that becomes a 400."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from claude_server.core.errors import TurnError
from claude_server.core.model import TurnRequest
from claude_server.dialects.base import Around
from claude_server.dialects.chat.request import to_turn
from claude_server.dialects.chat.wire import ChatRequest
from claude_server.engine.protocol import frames
from claude_server.http.errors import error_mapping
from claude_server.standin import rules

PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB"
# Few names, so that they meet: calls and results, the same call twice, results of nothing.
IDS = st.sampled_from(["call_1", "call_2", "", "über / 3", "x" * 200])
NAMES = st.sampled_from(["f", "g", "", "a b", "StructuredOutput", "y" * 65])
TEXTS = st.sampled_from(["", " ", "\n", "hi", "/clear", "\x00", "[Result]", "\u2028"]) | st.text(max_size=4)
ARGUMENTS = st.sampled_from(["", "{}", '{"a": 1}', "[1]", "null", "{", '"x"', '{"a": NaN}', "1e999"])
URLS = st.sampled_from(
    [PIXEL, "data:image/png;base64,", "data:text/plain,x", "data:", "", "http://127.0.0.1/x"]
)
PARTS = st.one_of(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["text", "refusal", "input_audio"])}, optional={"text": TEXTS}
    ),
    st.builds(lambda text: {"type": "text", "text": text}, TEXTS),
    st.builds(lambda url: {"type": "image_url", "image_url": {"url": url}}, URLS),
    st.builds(lambda data: {"type": "file", "file": {"file_data": data}}, URLS),
)
CALLS = st.builds(
    lambda id_, name, arguments: {
        "id": id_,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    },
    IDS,
    NAMES,
    ARGUMENTS,
)
MESSAGES = st.fixed_dictionaries(
    {
        "role": st.sampled_from(
            ["user", "user", "assistant", "assistant", "tool", "tool", "function", "system"]
        )
    },
    optional={
        "content": st.none() | TEXTS | st.lists(PARTS, max_size=3),
        "tool_calls": st.none() | st.lists(CALLS, max_size=3),
        "tool_call_id": IDS,
        "name": NAMES,
        "function_call": st.builds(lambda name, text: {"name": name, "arguments": text}, NAMES, ARGUMENTS),
        "refusal": TEXTS,
    },
)
SCHEMAS = st.sampled_from(
    [
        None,
        {},
        {"type": "object"},
        {"type": "array"},
        {"type": "object", "properties": {"a": {"type": "nothing"}}},
    ]
)
TOOLS = st.builds(
    lambda name, schema: {"type": "function", "function": {"name": name, "parameters": schema}},
    NAMES,
    SCHEMAS,
)
REQUESTS = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGES, min_size=1, max_size=8)},
    optional={
        "tools": st.lists(TOOLS, max_size=3),
        "tool_choice": st.sampled_from(["auto", "none", "required"])
        | st.builds(lambda name: {"type": "function", "function": {"name": name}}, NAMES),
        "parallel_tool_calls": st.booleans(),
        "response_format": st.builds(
            lambda schema: {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}, SCHEMAS
        )
        | st.sampled_from([{"type": "text"}, {"type": "json_object"}, {"type": "json_schema"}]),
        "stop": st.none() | TEXTS | st.lists(TEXTS, max_size=4),
        "session_id": st.just("s"),
        "n": st.integers(1, 9),
    },
)


def as_api_request(turn: TurnRequest) -> dict[str, Any]:
    """The messages of a turn as the API gets them, where nothing else is known of them."""
    messages = [
        (frames.user if message.role == "user" else frames.assistant)(message.blocks)["message"]
        for message in (*turn.history, turn.question)
    ]
    tools = [{"name": tool.name, "input_schema": json.loads(tool.schema)} for tool in turn.tools]
    return {"model": "m", "max_tokens": 1, "messages": messages, "tools": tools}


@given(REQUESTS)
@settings(max_examples=400, deadline=None, derandomize=True, database=None)
def test_a_turn_that_the_api_takes_or_a_400(body: dict[str, Any]) -> None:
    try:
        request = ChatRequest.model_validate_json(json.dumps(body))
        turn, _ = to_turn(request, Around("t", 1))
    except ValidationError:
        return
    except TurnError as error:
        assert error_mapping(error).status == 400
        assert error.message.endswith(".")
        return
    roles = [message.role for message in (*turn.history, turn.question)]
    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
    made = as_api_request(turn)
    # In a session, calls may lie in the turns before: what is there of them is for the API to say.
    if turn.session_id is None:
        assert rules.validation_error(made) is None, made
