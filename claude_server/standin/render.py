"""A scripted reply as bytes and pauses. Pure: the caller does the waiting and the sending."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from claude_server.standin.caching import CHARS_PER_TOKEN, Usage, estimate_tokens
from claude_server.standin.script import ApiError, Block, RedactedThinking, Reply, Text, Thinking, ToolUse
from claude_server.standin.signatures import fresh_data, sign

__all__ = [
    "LimitedReply",
    "Step",
    "apply_limits",
    "error_body",
    "error_event",
    "message_json",
    "stream_steps",
]

_encoder = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


class Step(NamedTuple):
    """Wait for `pause` seconds, then send `data`."""

    pause: float
    data: bytes


@dataclass(frozen=True)
class Part:
    """One block as it goes out: `text` is its text, its thinking or its input as JSON."""

    block: Block
    text: str
    whole: bool = True  # False if a limit or a stop sequence cut it


@dataclass(frozen=True)
class LimitedReply:
    """A reply after the request's own limits were applied."""

    parts: tuple[Part, ...]
    stop_reason: str
    stop_sequence: str | None
    output_tokens: int


def _dump(value: Any) -> str:
    return _encoder.encode(value)


def _encode(text: str) -> bytes:
    # A lone surrogate (half an emoji in a client's JSON) can't be written as UTF-8.
    return text.encode("utf-8", "replace")


def apply_limits(reply: Reply, max_tokens: int | None, stop_sequences: Sequence[str] = ()) -> LimitedReply:
    """Cut a reply at the request's stop sequences, then at its max_tokens, and name the stop reason."""
    limits = [limit for limit in (max_tokens, reply.max_tokens) if limit is not None]
    limit = min(limits) if limits else None
    parts = [Part(block, _block_text(block)) for block in reply.blocks]
    used_tool = any(isinstance(block, ToolUse) for block in reply.blocks)
    stop_reason = reply.stop_reason or ("tool_use" if used_tool else "end_turn")
    stop_sequence = reply.stop_sequence
    found = _cut_at_sequence(parts, stop_sequences)
    if found is not None:
        parts, stop_sequence = found
        stop_reason = "stop_sequence"
    tokens = reply.output_tokens
    if tokens is None or found is not None:
        tokens = max(1, estimate_tokens(sum(len(part.text) for part in parts)))
    if limit is not None and tokens > limit:
        parts = _cut_at_chars(parts, limit * CHARS_PER_TOKEN)
        return LimitedReply(tuple(parts), "max_tokens", None, limit)
    return LimitedReply(tuple(parts), stop_reason, stop_sequence, tokens)


def _block_text(block: Block) -> str:
    if isinstance(block, ToolUse):
        return _dump(block.input)
    return "" if isinstance(block, RedactedThinking) else block.text


def _cut_at_sequence(parts: list[Part], sequences: Sequence[str]) -> tuple[list[Part], str] | None:
    for number, part in enumerate(parts):
        if not isinstance(part.block, Text):
            continue
        hits = [(part.text.find(s), s) for s in sequences if s and s in part.text]
        if hits:
            at, sequence = min(hits)
            return [*parts[:number], Part(part.block, part.text[:at], whole=False)], sequence
    return None


def _cut_at_chars(parts: list[Part], chars: int) -> list[Part]:
    kept: list[Part] = []
    for part in parts:
        if len(part.text) > chars:
            # A block of which nothing is left is not even begun, unless the answer would have none.
            if chars > 0 or not kept:
                kept.append(Part(part.block, part.text[:chars], whole=False))
            return kept
        kept.append(part)
        chars -= len(part.text)
    return kept


def message_json(
    reply: Reply, limited: LimitedReply, *, model: Any, message_id: str, usage: Usage, body: Mapping[str, Any]
) -> bytes:
    """The body of a reply that isn't streamed."""
    message = _message(model, message_id, usage.as_json(limited.output_tokens))
    message["content"] = [_whole_block(part, message_id, i) for i, part in enumerate(limited.parts)]
    message["stop_reason"] = limited.stop_reason
    message["stop_sequence"] = limited.stop_sequence
    if reply.stop_details is not None:
        message["stop_details"] = reply.stop_details
    if "context_management" in body:
        message["context_management"] = {"applied_edits": []}
    return _encode(_dump(message))


def _message(model: Any, message_id: str, usage: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model": model,
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }


def _whole_block(part: Part, message_id: str, index: int) -> dict[str, Any]:
    block = part.block
    if isinstance(block, ToolUse):
        given = dict(block.input) if part.whole else {}
        return {**_block_start(block, message_id, index), "input": given}
    if isinstance(block, Thinking):
        return {"type": "thinking", "thinking": part.text, "signature": _signature(block, part.text)}
    if isinstance(block, RedactedThinking):
        return _block_start(block, message_id, index)
    return {"type": "text", "text": part.text}


def _signature(block: Thinking, text: str) -> str:
    return sign(text) if block.signature is None else block.signature


def _block_start(block: Block, message_id: str, index: int) -> dict[str, Any]:
    if isinstance(block, ToolUse):
        made_up = f"toolu_{message_id.partition('_')[2]}{index:02d}"
        return {"type": "tool_use", "id": block.id or made_up, "name": block.name, "input": {}}
    if isinstance(block, Thinking):
        return {"type": "thinking", "thinking": "", "signature": ""}
    if isinstance(block, RedactedThinking):
        return {"type": "redacted_thinking", "data": fresh_data() if block.data is None else block.data}
    return {"type": "text", "text": ""}


def stream_steps(
    reply: Reply,
    limited: LimitedReply,
    *,
    model: Any,
    message_id: str,
    usage: Usage,
    body: Mapping[str, Any],
    stop_after: int | None = None,
) -> list[Step]:
    """The stream of a reply in as few pieces as its delays allow.

    stop_after: the stream is left unfinished after that many characters of content; None: it is whole.
    """
    steps: list[Step] = []
    pause, pieces = reply.first_delay, []
    start = {"type": "message_start", "message": _message(model, message_id, usage.as_json(1))}
    pieces.append(_event(start))
    deltas = 0
    for is_delta, text in _frames(reply, limited, message_id, stop_after):
        deltas += is_delta
        if is_delta and deltas > 1 and reply.delay > 0:
            steps.append(Step(pause, _encode("".join(pieces))))
            pause, pieces = reply.delay, []
        pieces.append(text)
    if stop_after is None:
        pieces.append(_closing(reply, limited, usage, body))
    steps.append(Step(pause, _encode("".join(pieces))))
    return steps


def _frames(
    reply: Reply, limited: LimitedReply, message_id: str, stop_after: int | None
) -> Iterator[tuple[bool, str]]:
    """(is a content delta, the event) for all blocks, up to `stop_after` characters of content."""
    left = stop_after if stop_after is not None else sum(len(part.text) for part in limited.parts) + 1
    for index, part in enumerate(limited.parts):
        if left <= 0:
            return
        block = part.block
        start = {"type": "content_block_start", "index": index}
        yield False, _event({**start, "content_block": _block_start(block, message_id, index)})
        if index == 0:
            yield False, _event({"type": "ping"})
        if isinstance(block, ToolUse):
            yield False, _delta(index, "input_json_delta", "partial_json", "")
        for piece in _chunks(part.text[:left], block, reply.chunk_chars):
            yield True, _content_delta(index, block, piece)
        left -= len(part.text)
        if left <= 0:
            return
        if isinstance(block, Thinking) and part.whole:
            yield False, _delta(index, "signature_delta", "signature", _signature(block, part.text))
        yield False, _event({"type": "content_block_stop", "index": index})


def _chunks(text: str, block: Block, default: int | None) -> Iterator[str]:
    own = None if isinstance(block, RedactedThinking) else block.chunk
    size = own or default or len(text) or 1
    for at in range(0, len(text), size):
        yield text[at : at + size]


def _content_delta(index: int, block: Block, piece: str) -> str:
    if isinstance(block, ToolUse):
        return _delta(index, "input_json_delta", "partial_json", piece)
    if isinstance(block, Thinking):
        return _delta(index, "thinking_delta", "thinking", piece)
    return _delta(index, "text_delta", "text", piece)


def _delta(index: int, kind: str, key: str, value: str) -> str:
    # Spelled out instead of dumped: a long reply has thousands of these.
    return (
        "event: content_block_delta\n"
        f'data: {{"type":"content_block_delta","index":{index},'
        f'"delta":{{"type":"{kind}","{key}":{_dump(value)}}}}}\n\n'
    )


def _closing(reply: Reply, limited: LimitedReply, usage: Usage, body: Mapping[str, Any]) -> str:
    delta: dict[str, Any] = {"stop_reason": limited.stop_reason, "stop_sequence": limited.stop_sequence}
    if reply.stop_details is not None:
        delta["stop_details"] = reply.stop_details
    counts = {
        "input_tokens": usage.input_tokens,
        "cache_creation_input_tokens": usage.cache_creation_input_tokens,
        "cache_read_input_tokens": usage.cache_read_input_tokens,
        "output_tokens": limited.output_tokens,
    }
    event: dict[str, Any] = {"type": "message_delta", "delta": delta, "usage": counts}
    if "context_management" in body:
        event["context_management"] = {"applied_edits": []}
    return _event(event) + _event({"type": "message_stop"})


def _event(payload: Mapping[str, Any]) -> str:
    return f"event: {payload['type']}\ndata: {_dump(payload)}\n\n"


def error_event(kind: str, message: str, request_id: str) -> bytes:
    """The `event: error` of a stream that fails half-way."""
    return _encode(_event(_error(kind, message, request_id)))


def error_body(error: ApiError, request_id: str) -> bytes:
    return _encode(_dump(_error(error.error_type, error.text, request_id)))


def _error(kind: str, message: str, request_id: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}
