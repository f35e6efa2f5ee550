"""Frames: the JSON lines exchanged with a claude process. No I/O, no asyncio.

Only lines made here are ever written to a process: what a client sends appears as text inside them.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic_core import from_json

from claude_server.core.model import ApiBlock, Block, Document, Image, RedactedThinking, Thinking, ToolUse

Frame = Mapping[str, Any]
# An assistant line names a model; the API never sees it. Under another name than that of the model in use the
# CLI leaves thoughts out.
NO_MODEL = "claude"


def parse(line: bytes) -> Frame | None:
    """Parse a line; None if it is no frame (an object with a string `type`)."""
    try:
        # Twice as fast as json, but it rejects lone surrogates, which the CLI may pass on.
        frame = from_json(line)
    except ValueError:
        try:
            # A lone surrogate can't be sent to a client either: it becomes U+FFFD.
            text = json.dumps(json.loads(line), ensure_ascii=False)
            frame = from_json(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
        except (ValueError, RecursionError):
            return None
    return frame if isinstance(frame, dict) and isinstance(frame.get("type"), str) else None


def is_torn(line: bytes) -> bool:
    """Does an unparsable line hold part of a frame, with something else written into it?"""
    return b'"type":"' in line


def encode(frames: Iterable[Frame]) -> bytes:
    """Frames as NDJSON. Escaped to ASCII: nothing inside a text can end its line."""
    return b"".join(json.dumps(frame, separators=(",", ":")).encode("ascii") + b"\n" for frame in frames)


def escape_command(text: str) -> str:
    """Escape a text that the CLI would run as a command: one that begins with "/" gets a leading space."""
    return " " + text if text.startswith("/") else text


def user(blocks: Sequence[Block], *, query: bool = True) -> Frame:
    """A user message: the question, or with `query` off an earlier message of the conversation."""
    told = [escape_command(block) if isinstance(block, str) else block for block in blocks]
    frame: dict[str, Any] = {
        "type": "user",
        "message": {"role": "user", "content": [_block(block) for block in told]},
        "parent_tool_use_id": None,
        "session_id": "",
        "uuid": str(uuid.uuid4()),
    }
    if not query:
        frame["shouldQuery"] = False
    return frame


def boundary() -> Frame:
    """A compact boundary, which empties the conversation of an idle process. It has no answer."""
    return {
        "type": "system",
        "subtype": "compact_boundary",
        "session_id": "",
        "uuid": str(uuid.uuid4()),
        "compact_metadata": {"trigger": "manual", "pre_tokens": 0},
    }


def assistant(blocks: Sequence[Block], model: str = NO_MODEL) -> Frame:
    """An earlier message of the assistant. Its thoughts reach `model`, if that is the model in use."""
    return {
        "type": "assistant",
        "message": {
            # Lines of one id are merged into one message.
            "id": f"msg_{uuid.uuid4().hex}",
            "type": "message",
            "role": "assistant",
            "model": model or NO_MODEL,
            "content": [_block(block) for block in blocks],
        },
        "parent_tool_use_id": None,
        "session_id": "",
        "uuid": str(uuid.uuid4()),
    }


def control_request(request_id: str, subtype: str, **fields: Any) -> Frame:
    """A control request to the process; the response carries the same id."""
    return {"type": "control_request", "request_id": request_id, "request": {"subtype": subtype, **fields}}


def control_answer(request_id: str, response: Mapping[str, Any]) -> Frame:
    """The response to a control request of the process."""
    fields = {"subtype": "success", "request_id": request_id, "response": response}
    return {"type": "control_response", "response": fields}


def control_refusal(request_id: str, reason: str) -> Frame:
    """The error response to a control request that we don't serve."""
    response = {"subtype": "error", "request_id": request_id, "error": reason}
    return {"type": "control_response", "response": response}


def _block(block: Block) -> dict[str, Any]:
    """A content block as the Messages API takes it."""
    if isinstance(block, str):
        return {"type": "text", "text": block}
    if isinstance(block, Image):
        return {"type": "image", "source": _base64(block.media_type, block.data)}
    if isinstance(block, Document):
        title = {"title": block.title} if block.title else {}
        return {"type": "document", "source": _base64("application/pdf", block.data), **title}
    if isinstance(block, ApiBlock):
        return dict(json.loads(block.json))
    if isinstance(block, ToolUse):
        return {"type": "tool_use", "id": block.id, "name": block.name, "input": dict(block.input)}
    if isinstance(block, Thinking):
        return {"type": "thinking", "thinking": block.text, "signature": block.signature}
    if isinstance(block, RedactedThinking):
        return {"type": "redacted_thinking", "data": block.data}
    content = [_block(part) for part in block.blocks]
    failed = {"is_error": True} if block.is_error else {}
    return {"type": "tool_result", "tool_use_id": block.id, "content": content, **failed}


def _base64(media_type: str, data: str) -> dict[str, str]:
    return {"type": "base64", "media_type": media_type, "data": data}
