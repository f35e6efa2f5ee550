"""Answers of the Messages API: what goes out."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from claude_server.core import model
from claude_server.dialects.x_claude import XClaude

StopReason = Literal[
    "end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal", "model_context_window_exceeded"
]
_REASONS: dict[model.StopReason, StopReason] = {
    "end_turn": "end_turn",
    "max_tokens": "max_tokens",
    "model_context_window_exceeded": "model_context_window_exceeded",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_use",
    "refusal": "refusal",
    "max_turns": "max_tokens",
    # An unknown reason may mean that something is missing.
    "other": "max_tokens",
}


class Usage(BaseModel):
    """Real counts; `input_tokens` is without cache reads and writes."""

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int


class Message(BaseModel):
    """A whole answer. `x_claude` is ours."""

    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[dict[str, Any]]
    stop_reason: StopReason
    stop_sequence: str | None
    usage: Usage
    x_claude: XClaude


class TokensCount(BaseModel):
    input_tokens: int


def usage(counts: model.Usage) -> Usage:
    """The counts as Anthropic names them."""
    return Usage(
        input_tokens=counts.input_tokens,
        cache_creation_input_tokens=counts.cache_creation_tokens,
        cache_read_input_tokens=counts.cache_read_tokens,
        output_tokens=counts.output_tokens,
    )


def stop_reason(end: model.TurnDone) -> StopReason:
    """Why the answer ends, as Anthropic names it."""
    return _REASONS[end.stop_reason]
