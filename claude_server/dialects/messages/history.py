"""The messages of a request as a system prompt and a conversation. Pure."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from claude_server.core.errors import InvalidRequest, UnsupportedParameter
from claude_server.core.model import ApiBlock, Message, RedactedThinking, Thinking
from claude_server.dialects import media
from claude_server.dialects.conversation import SYSTEM_IN_PLACE, Call, Content, Conversation, is_blank
from claude_server.dialects.messages import wire

# A line of another CLI's, which counts what it costs: ours writes its own.
_BILLING = "x-anthropic-billing-header:"
_PREFILL = (
    "The conversation must end with a user message: newer models take no beginning of an answer. For an "
    "answer of a certain form use output_config.format."
)
_PASSED = frozenset({"document", "search_result"})
_NO_FILES = "There are no stored files here: send the content itself."
_PDF_HEAD = 1024


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


def _blocks(message: wire.InputMessage, where: str) -> list[tuple[str, wire.Block]]:
    if isinstance(message.content, str):
        return [(where, wire.Block(type="text", text=message.content))]
    return [(f"{where}.{number}", block) for number, block in enumerate(message.content)]


def _asked(talk: Conversation, blocks: Sequence[tuple[str, wire.Block]]) -> None:
    for place, block in blocks:
        if block.type == "tool_result":
            content = tuple(_result(block, place))
            talk.result(block.tool_use_id or "", content, failed=bool(block.is_error))
            continue
        content = tuple(_content(block, place))
        if content:
            talk.user(content)


def _answer(talk: Conversation, blocks: Sequence[tuple[str, wire.Block]]) -> None:
    for place, block in blocks:
        if block.type == "thinking":
            # Without its signature the API refuses it.
            if block.signature:
                talk.thought(Thinking(block.thinking or "", block.signature))
        elif block.type == "redacted_thinking":
            talk.thought(RedactedThinking(_field(block, "data", place)))
        elif block.type == "tool_use":
            call = Call(
                _field(block, "id", place), _field(block, "name", place), json.dumps(block.input or {})
            )
            talk.assistant((), [call])
        elif block.type == "text" and block.citations:
            talk.assistant([_passed(block)])
        elif block.type == "text":
            talk.assistant([text for text in _content(block, place) if isinstance(text, str)])
        else:
            raise _unsupported(block, place)


def _content(block: wire.Block, place: str) -> Iterator[Content]:
    """What a block of the user's says; nothing for a blank one."""
    if block.type == "text":
        text = _field(block, "text", place)
        if not is_blank(text):
            yield text
    elif block.type == "image":
        yield _image(block, place)
    elif block.type in _PASSED:
        _check_source(block, place)
        yield _passed(block)
    else:
        raise _unsupported(block, place)


def _result(block: wire.Block, place: str) -> Iterator[Content]:
    if isinstance(block.content, str):
        yield block.content
        return
    for number, part in enumerate(block.content or ()):
        where = f"{place}.content.{number}"
        try:
            inner = wire.Block.model_validate(part)
        except ValidationError:
            raise InvalidRequest(f"'{where}' is no content block.", param=where) from None
        if inner.type == "tool_reference":
            # All tools are loaded.
            continue
        yield from _content(inner, where)


def _field(block: wire.Block, name: str, place: str) -> str:
    value = getattr(block, name)
    if not isinstance(value, str):
        raise InvalidRequest(f"'{place}.{name}' is missing.", param=f"{place}.{name}")
    return value


def _unsupported(block: wire.Block, place: str) -> UnsupportedParameter:
    return UnsupportedParameter(
        f"'{place}': blocks of the type '{block.type[:80]}' can't be taken here.", param=place
    )


def _source(block: wire.Block, place: str) -> Mapping[str, Any]:
    if not isinstance(block.source, dict):
        raise InvalidRequest(f"'{place}.source' is missing.", param=f"{place}.source")
    if block.source.get("type") == "file":
        raise UnsupportedParameter(f"'{place}.source': {_NO_FILES}", param=f"{place}.source")
    return block.source


def _image(block: wire.Block, place: str) -> Content:
    source = _source(block, place)
    if source.get("type") == "url":
        # The API fetches it.
        return _passed(block)
    return media.image(_decoded(source, place), f"{place}.source.data")


def _decoded(source: Mapping[str, Any], place: str) -> bytes:
    where = f"{place}.source.data"
    try:
        return base64.b64decode(source["data"], validate=True)
    except (KeyError, TypeError, binascii.Error, ValueError):
        raise InvalidRequest(f"'{where}' is not valid base64.", param=where) from None


def _check_source(block: wire.Block, place: str) -> None:
    """Refuse a document that the CLI would replace or the API can't read. Its other sources pass as they
    are."""
    if block.type != "document":
        return
    source = _source(block, place)
    if source.get("type") == "base64" and b"%PDF-" not in _decoded(source, place)[:_PDF_HEAD]:
        raise InvalidRequest(f"'{place}.source' is no PDF.", param=f"{place}.source")


def _passed(block: wire.Block) -> ApiBlock:
    """The block as it came, without the client's marks for the cache: the CLI sets its own."""
    return ApiBlock(json.dumps(_unmarked(block.model_dump(exclude_unset=True))))


def _unmarked(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _unmarked(item) for name, item in value.items() if name != "cache_control"}
    return [_unmarked(item) for item in value] if isinstance(value, list) else value


def asks_long_cache(request: wire.CountRequest) -> bool:
    """Does any of its marks for the cache ask for an hour?"""
    marks: list[Any] = [(request.model_extra or {}).get("cache_control")]
    marks += [tool.cache_control for tool in request.tools or ()]
    marks += [block.cache_control for block in request.system or () if isinstance(block, wire.SystemBlock)]
    for message in request.messages:
        marks += [block.cache_control for block in message.content if isinstance(block, wire.Block)]
    return any(isinstance(mark, dict) and mark.get("ttl") == "1h" for mark in marks)
