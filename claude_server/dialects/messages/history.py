"""The messages of a request as a system prompt and a conversation. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from claude_server.core.errors import InvalidRequest
from claude_server.core.model import Message
from claude_server.dialects import api_blocks
from claude_server.dialects.api_blocks import Block
from claude_server.dialects.conversation import SYSTEM_IN_PLACE, Conversation, is_blank
from claude_server.dialects.messages import wire

# A line of another CLI's, which counts what it costs: ours writes its own.
_BILLING = "x-anthropic-billing-header:"
_PREFILL = (
    "The conversation must end with a user message: newer models take no beginning of an answer. For an "
    "answer of a certain form use output_config.format."
)


def system_prompt(request: wire.CountRequest) -> str:
    """The field `system`, as one text."""
    given = request.system or ()
    texts = [given] if isinstance(given, str) else [block.text for block in given]
    return "\n\n".join(text for text in texts if not is_blank(text) and not text.startswith(_BILLING))


def conversation(
    messages: Sequence[wire.InputMessage], notices: list[str]
) -> tuple[tuple[str, ...], list[Message]]:
    """The texts of leading system messages, and the conversation with neighbours of one role merged. Adds
    notices. Raises InvalidRequest or UnsupportedParameter with `param`."""
    if messages[-1].role == "assistant":
        raise InvalidRequest(_PREFILL, param="messages")
    leading: list[str] = []
    talk = Conversation()
    begun = False
    for index, message in enumerate(messages):
        where = f"messages.{index}.content"
        blocks = _blocks(message, where)
        begun = begun or message.role != "system"
        if message.role == "assistant":
            _answer(talk, blocks)
        elif message.role == "user":
            _asked(talk, blocks)
        else:
            text = "\n\n".join(block.text for _, block in blocks if block.type == "text" and block.text)
            if begun and text:
                talk.note(text)
                notices.append(SYSTEM_IN_PLACE)
            elif text:
                leading.append(text)
    return tuple(leading), talk.messages()


def _blocks(message: wire.InputMessage, where: str) -> list[tuple[str, Block]]:
    if isinstance(message.content, str):
        return [(where, Block(type="text", text=message.content))]
    return [(f"{where}.{number}", block) for number, block in enumerate(message.content)]


def _asked(talk: Conversation, blocks: Sequence[tuple[str, Block]]) -> None:
    for place, block in blocks:
        if block.type == "tool_result":
            content = tuple(api_blocks.result(block, place))
            talk.result(block.tool_use_id or "", content, failed=bool(block.is_error))
            continue
        said = tuple(api_blocks.content(block, place))
        if said:
            talk.user(said)


def _answer(talk: Conversation, blocks: Sequence[tuple[str, Block]]) -> None:
    for place, block in blocks:
        if block.type in api_blocks.THOUGHTS:
            thought = api_blocks.thought(block, place)
            if thought is not None:
                talk.thought(thought)
        elif block.type == "tool_use":
            talk.assistant((), [api_blocks.call(block, place)])
        elif block.type == "text" and block.citations:
            talk.assistant([api_blocks.passed(block)])
        elif block.type == "text":
            talk.assistant([text for text in api_blocks.content(block, place) if isinstance(text, str)])
        else:
            raise api_blocks.unsupported(block, place)


def asks_long_cache(request: wire.CountRequest) -> bool:
    """Does any of its marks for the cache ask for an hour?"""
    marks: list[Any] = [(request.model_extra or {}).get("cache_control")]
    marks += [tool.cache_control for tool in request.tools or ()]
    marks += [block.cache_control for block in request.system or () if isinstance(block, wire.SystemBlock)]
    for message in request.messages:
        marks += [block.cache_control for block in message.content if isinstance(block, Block)]
    return any(isinstance(mark, dict) and mark.get("ttl") == "1h" for mark in marks)
