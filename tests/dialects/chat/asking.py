"""Chat requests, and what they become."""

from __future__ import annotations

import json
from typing import Any

import pytest

from claude_server.core.errors import TurnError
from claude_server.core.model import Block, Message, TurnRequest
from claude_server.dialects.base import Around, Policy
from claude_server.dialects.chat.request import to_turn
from claude_server.dialects.chat.wire import ChatRequest

POLICY = Policy(default_model="dm")


def around(policy: Policy = POLICY, **facts: Any) -> Around:
    return Around(id="t", created=1, policy=policy, **facts)


def msg(role: str, content: Any = None, **fields: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **fields}


def part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def user(*blocks: Block) -> Message:
    return Message("user", blocks)


def assistant(*blocks: Block) -> Message:
    return Message("assistant", blocks)


def asked(*messages: dict[str, Any], **fields: Any) -> ChatRequest:
    body = {"messages": list(messages or [msg("user", "hi")]), **fields}
    return ChatRequest.model_validate_json(json.dumps(body))


def turn(*messages: dict[str, Any], **fields: Any) -> TurnRequest:
    request, _ = to_turn(asked(*messages, **fields), around())
    return request


def refusal(*messages: dict[str, Any], **fields: Any) -> TurnError:
    with pytest.raises(TurnError) as raised:
        turn(*messages, **fields)
    return raised.value
