"""The caller's results as a waiting process takes them: as those of an MCP server. Pure.

The CLI passes a result on as it is, or it doesn't: in place of a long text it tells the name of a file, large
pictures it makes smaller, and for an empty result it has words of its own. What it wouldn't pass on is not
given to it; and a result that is sent another way says the same.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from claude_server.core import pictures
from claude_server.core.model import AttemptRequest, Block, Image, Message, ToolResult, ToolUse

# Characters of a result's texts together, as JavaScript counts them, that a CLI passes on where nothing is
# said, and of a failed call's.
PLAIN_RESULT = 50_000
_FAILED_RESULT = 10_000
# Pixels and characters of base64 that were seen to pass, on every version.
_PICTURE_SIDE = 2000
_PICTURE_AREA = 1568 * 1568
_PICTURE_CHARS = 600_000
# Of a picture, enough to find its size in: some have a profile or a thumbnail in front.
_HEAD_CHARS = 256 * 1024


# The model is told that there was nothing: in place of nothing, the CLI would say so in words of its own.
_NOTHING = "(no output)"


def tidied(request: AttemptRequest) -> AttemptRequest:
    """The request, in which no result is empty and all come in the order of their calls, as a process that
    waits would have them."""
    turn, plan = request.turn, request.session
    messages = (*request.history, turn.question)
    tidy = [_tidied(message, before) for before, message in zip((None, *messages), messages, strict=False)]
    if all(one is other for one, other in zip(messages, tidy, strict=True)):
        return request
    *history, question = tidy
    if plan is not None:
        plan = replace(plan, results=tuple(map(_filled, plan.results)))
    turn = replace(turn, question=question)
    return replace(request, turn=turn, history=tuple(history), session=plan)


def told(result: ToolResult) -> Mapping[str, Any]:
    """The result of the MCP call."""
    content = [_part(block) for block in result.blocks if isinstance(block, str | Image)]
    return {"content": content, **({"isError": True} if result.is_error else {})}


def is_too_long(result: ToolResult, longest: int) -> bool:
    """Has it more text than a CLI passes on that takes `longest` characters?"""
    texts = [block for block in result.blocks if isinstance(block, str)]
    if result.is_error:
        longest = _FAILED_RESULT
    return sum(map(_length, texts)) + len(texts) > longest


def is_unfit(result: ToolResult) -> bool:
    """Is there anything in it that a CLI doesn't pass on as it is, whatever its length?"""
    if _is_empty(result):
        return True
    if result.is_error:
        return not all(isinstance(block, str) for block in result.blocks)
    return not all(isinstance(b, str) or (isinstance(b, Image) and _passes(b)) for b in result.blocks)


def is_echo(block: Mapping[str, Any], result: ToolResult) -> bool:
    """Is a block of the process's own conversation this result, unchanged? A failed call's is one text."""
    content = block.get("content")
    if result.is_error:
        said = "\n".join(part for part in result.blocks if isinstance(part, str))
        return isinstance(content, str) and content.strip() == said.strip()
    return _plain(content) == [_plain_part(part) for part in result.blocks]


def _is_empty(block: Block) -> bool:
    return isinstance(block, ToolResult) and not any(
        not isinstance(part, str) or part.strip() for part in block.blocks
    )


def _tidied(message: Message, before: Message | None) -> Message:
    """The same message where nothing is to be done. `before`: the one that it follows on."""
    results = [block for block in message.blocks if isinstance(block, ToolResult)]
    calls = [block.id for block in before.blocks if isinstance(block, ToolUse)] if before else []
    place = {call: number for number, call in enumerate(calls)}
    ordered = sorted(results, key=lambda result: place.get(result.id, len(place)))
    if ordered == results and not any(map(_is_empty, results)):
        return message
    rest = (block for block in message.blocks if not isinstance(block, ToolResult))
    return replace(message, blocks=(*map(_filled, ordered), *rest))


def _filled(result: ToolResult) -> ToolResult:
    return replace(result, blocks=(_NOTHING,)) if _is_empty(result) else result


def _part(block: str | Image) -> Mapping[str, Any]:
    if isinstance(block, str):
        return {"type": "text", "text": block}
    return {"type": "image", "data": block.data, "mimeType": block.media_type}


def _plain(content: object) -> Sequence[object]:
    parts = content if isinstance(content, list) else []
    return [part["text"] if "text" in part else part.get("source", {}).get("data") for part in parts]


def _plain_part(block: object) -> object:
    return block.data if isinstance(block, Image) else block


def _length(text: str) -> int:
    """In units of UTF-16, as JavaScript counts."""
    return len(text) if text.isascii() else len(text) + sum(character > "\uffff" for character in text)


def _passes(image: Image) -> bool:
    if len(image.data) > _PICTURE_CHARS:
        return False
    size = pictures.size(base64.b64decode(image.data[:_HEAD_CHARS]))
    return size is not None and max(size) <= _PICTURE_SIDE and size[0] * size[1] <= _PICTURE_AREA
