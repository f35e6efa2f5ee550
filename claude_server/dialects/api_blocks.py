"""Blocks of Anthropic's messages, in whatever dialect they come. Pure."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, StrictBool, StrictStr, ValidationError

from claude_server.core.errors import InvalidRequest, UnsupportedParameter
from claude_server.core.model import ApiBlock, RedactedThinking, Thinking, Thought
from claude_server.dialects import media
from claude_server.dialects.base import FailFastList
from claude_server.dialects.conversation import Call, Content, is_blank

# Kinds of blocks that are thoughts.
THOUGHTS = frozenset({"thinking", "redacted_thinking"})
_PASSED = frozenset({"document", "search_result"})
_NO_FILES = "There are no stored files here: send the content itself."
_PDF_HEAD = 1024


class Block(BaseModel):
    """A block of a message; which field it has goes by its type. `content` is a result's."""

    model_config = ConfigDict(extra="allow")

    type: StrictStr
    text: StrictStr | None = None
    source: StrictStr | dict[str, Any] | None = None
    title: StrictStr | None = None
    context: StrictStr | None = None
    citations: Any = None
    id: StrictStr | None = None
    name: StrictStr | None = None
    input: dict[str, Any] | None = None
    tool_use_id: StrictStr | None = None
    content: StrictStr | FailFastList[dict[str, Any]] | None = None
    is_error: StrictBool | None = None
    thinking: StrictStr | None = None
    signature: StrictStr | None = None
    data: StrictStr | None = None
    cache_control: dict[str, Any] | None = None


def call(block: Block, place: str) -> Call:
    """A call of the model's. Raises InvalidRequest."""
    return Call(_field(block, "id", place), _field(block, "name", place), json.dumps(block.input or {}))


def thought(block: Block, place: str) -> Thought | None:
    """A thought that came back; None without its signature, since the API refuses it then. Raises
    InvalidRequest."""
    if block.type == "redacted_thinking":
        return RedactedThinking(_field(block, "data", place))
    return Thinking(block.thinking or "", block.signature) if block.signature else None


def content(block: Block, place: str) -> Iterator[Content]:
    """What a block says; nothing for a blank one. Raises InvalidRequest or UnsupportedParameter."""
    if block.type == "text":
        text = _field(block, "text", place)
        if not is_blank(text):
            yield text
    elif block.type == "image":
        yield _image(block, place)
    elif block.type in _PASSED:
        _check_source(block, place)
        yield passed(block)
    else:
        raise unsupported(block, place)


def result(block: Block, place: str) -> Iterator[Content]:
    """What a result says. Raises InvalidRequest or UnsupportedParameter."""
    if isinstance(block.content, str):
        yield block.content
        return
    for number, part in enumerate(block.content or ()):
        where = f"{place}.content.{number}"
        try:
            inner = Block.model_validate(part)
        except ValidationError:
            raise InvalidRequest(f"'{where}' is no content block.", param=where) from None
        if inner.type == "tool_reference":
            # All tools are loaded.
            continue
        yield from content(inner, where)


def _field(block: Block, name: str, place: str) -> str:
    value = getattr(block, name)
    if not isinstance(value, str):
        raise InvalidRequest(f"'{place}.{name}' is missing.", param=f"{place}.{name}")
    return value


def unsupported(block: Block, place: str) -> UnsupportedParameter:
    """The error for a block of a kind that can't be taken."""
    return UnsupportedParameter(
        f"'{place}': blocks of the type '{block.type[:80]}' can't be taken here.", param=place
    )


def _source(block: Block, place: str) -> Mapping[str, Any]:
    if not isinstance(block.source, dict):
        raise InvalidRequest(f"'{place}.source' is missing.", param=f"{place}.source")
    if block.source.get("type") == "file":
        raise UnsupportedParameter(f"'{place}.source': {_NO_FILES}", param=f"{place}.source")
    return block.source


def _image(block: Block, place: str) -> Content:
    source = _source(block, place)
    if source.get("type") == "url":
        # The API fetches it.
        return passed(block)
    return media.image(_decoded(source, place), f"{place}.source.data")


def _decoded(source: Mapping[str, Any], place: str) -> bytes:
    where = f"{place}.source.data"
    try:
        return base64.b64decode(source["data"], validate=True)
    except (KeyError, TypeError, binascii.Error, ValueError):
        raise InvalidRequest(f"'{where}' is not valid base64.", param=where) from None


def _check_source(block: Block, place: str) -> None:
    """Refuse a document that the CLI would replace or the API can't read. Its other sources pass as they
    are."""
    if block.type != "document":
        return
    source = _source(block, place)
    if source.get("type") == "base64" and b"%PDF-" not in _decoded(source, place)[:_PDF_HEAD]:
        raise InvalidRequest(f"'{place}.source' is no PDF.", param=f"{place}.source")


def passed(block: Block) -> ApiBlock:
    """The block as it came, without the client's marks for the cache: the CLI sets its own."""
    return ApiBlock(json.dumps(_unmarked(block.model_dump(exclude_unset=True))))


def _unmarked(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _unmarked(item) for name, item in value.items() if name != "cache_control"}
    return [_unmarked(item) for item in value] if isinstance(value, list) else value
