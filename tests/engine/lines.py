"""Lines of a turn, as the CLI writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from claude_server.engine.workers.login import LoginState, LoginUse


def stream(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "stream_event", "event": {"type": kind, **fields}, "uuid": "s"}


def start(model: str = "claude-x", **usage: Any) -> dict[str, Any]:
    return stream("message_start", message={"model": model, "usage": usage})


def text(words: str) -> dict[str, Any]:
    return stream("content_block_delta", index=0, delta={"type": "text_delta", "text": words})


def ending(reason: str | None, **usage: Any) -> list[dict[str, Any]]:
    return [stream("message_delta", delta={"stop_reason": reason}, usage=usage), stream("message_stop")]


def assistant(uuid: str | None, model: str = "claude-x") -> dict[str, Any]:
    return {"type": "assistant", "uuid": uuid, "message": {"model": model, "content": []}}


def result(**fields: Any) -> dict[str, Any]:
    return {"type": "result", "subtype": "success", "is_error": False, "total_cost_usd": 0.25, **fields}


def failed(status: int | None, words: str, **fields: Any) -> dict[str, Any]:
    return result(is_error=True, api_error_status=status, result=words, **fields)


def limit(**info: Any) -> dict[str, Any]:
    return {"type": "rate_limit_event", "rate_limit_info": info}


def block(kind: str, *deltas: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    begin = stream("content_block_start", index=0, content_block={"type": kind, **fields})
    return [begin, *deltas, stream("content_block_stop", index=0)]


def call(name: str, *pieces: str, id: str = "toolu_1") -> list[dict[str, Any]]:
    """A call of a tool, its arguments in pieces."""
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    return block("tool_use", *(stream("content_block_delta", delta=d) for d in deltas), id=id, name=name)


def login_use() -> LoginUse:
    """Of a login that nothing is known of."""
    return LoginState(Path("/nowhere")).enter()
