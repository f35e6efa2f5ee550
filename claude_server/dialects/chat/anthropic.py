"""Anthropic's shapes in a chat: agents send them wherever the model's name has "claude" in it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

from claude_server.core.errors import InvalidRequest
from claude_server.dialects import api_blocks
from claude_server.dialects.api_blocks import Block
from claude_server.dialects.chat import wire as chat
from claude_server.dialects.conversation import Call, Content

# By role, the part that is no content of its message: a call of an answer, or a result.
BESIDE_TEXT = {"assistant": "tool_use", "user": "tool_result"}
# Parts that OpenAI has by other names.
SOURCES = frozenset({"image", "document", "search_result"})


def calls(message: chat.ChatMessage, where: str) -> Iterator[Call]:
    """The calls among the parts of an answer. Raises InvalidRequest."""
    for place, block in _blocks(message, where, "tool_use"):
        yield api_blocks.call(block, place)


def results(message: chat.ChatMessage, where: str) -> Iterator[tuple[str, tuple[Content, ...], bool]]:
    """The results among the parts of a user's message: of which call, what, and whether it failed. Raises
    InvalidRequest or UnsupportedParameter."""
    for place, block in _blocks(message, where, "tool_result"):
        yield block.tool_use_id or "", tuple(api_blocks.result(block, place)), bool(block.is_error)


def source(part: chat.ContentPart, place: str) -> Content:
    """An image, a document or a search result. Raises InvalidRequest or UnsupportedParameter."""
    (content,) = api_blocks.content(_block(part, place), place)
    return content


def _blocks(message: chat.ChatMessage, where: str, kind: str) -> Iterator[tuple[str, Block]]:
    for number, part in enumerate(message.content if isinstance(message.content, list) else ()):
        if part.type == kind:
            place = f"{where}.content[{number}]"
            yield place, _block(part, place)


def _block(part: chat.ContentPart, place: str) -> Block:
    try:
        return Block.model_validate(part.model_dump(exclude_unset=True))
    except ValidationError as error:
        name = ".".join(map(str, error.errors()[0]["loc"]))
        raise InvalidRequest(f"'{place}.{name}' is not what is expected here.", param=place) from None
