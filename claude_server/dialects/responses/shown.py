"""POST /v1/responses: what goes out. Items and events are made as they are sent, in `output.py`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from claude_server.core.model import Usage as TurnUsage
from claude_server.dialects.x_claude import XClaude

Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]


class InputTokensDetails(BaseModel):
    """What was read from the API's cache, and what was written to it."""

    cached_tokens: int
    cache_write_tokens: int


class OutputTokensDetails(BaseModel):
    reasoning_tokens: int


class Usage(BaseModel):
    """Real counts. `input_tokens` includes cache reads and writes."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


def usage(counts: TurnUsage) -> Usage:
    """Token counts in OpenAI's terms."""
    return Usage(
        input_tokens=counts.prompt_tokens,
        input_tokens_details=InputTokensDetails(
            cached_tokens=counts.cache_read_tokens, cache_write_tokens=counts.cache_creation_tokens
        ),
        output_tokens=counts.output_tokens,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=counts.thinking_tokens),
        total_tokens=counts.prompt_tokens + counts.output_tokens,
    )


class InputTokens(BaseModel):
    object: Literal["response.input_tokens"] = "response.input_tokens"
    input_tokens: int


def counted(tokens: int) -> bytes:
    """The body of a count."""
    return InputTokens(input_tokens=tokens).model_dump_json().encode()


class ResponseError(BaseModel):
    code: str
    message: str


class IncompleteDetails(BaseModel):
    reason: Literal["max_output_tokens", "content_filter"]


class ReasoningShown(BaseModel):
    effort: str | None = None
    summary: str | None = None


class TextShown(BaseModel):
    format: dict[str, Any] = {"type": "text"}
    verbosity: Literal["low", "medium", "high"] = "medium"


class Response(BaseModel):
    """A response in any of its states. Every field is always there; what is not known yet is null."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: Status
    background: bool = False
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    model: str
    output: list[dict[str, Any]] = []
    parallel_tool_calls: bool = True
    previous_response_id: str | None = None
    conversation: dict[str, str] | None = None
    prompt_cache_key: str | None = None
    reasoning: ReasoningShown = ReasoningShown()
    safety_identifier: str | None = None
    service_tier: str = "default"
    store: bool = False
    temperature: float = 1.0
    text: TextShown = TextShown()
    tool_choice: str | dict[str, Any] = "auto"
    tools: list[dict[str, Any]] = []
    top_logprobs: int = 0
    top_p: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    truncation: Literal["auto", "disabled"] = "disabled"
    usage: Usage | None = None
    user: str | None = None
    metadata: dict[str, str] = {}
    x_claude: XClaude | None = None
