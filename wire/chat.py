"""POST /v1/chat/completions: what comes in and what goes out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr


class ContentPart(BaseModel):
    """A part of a message. Only text and refusal parts carry text."""

    model_config = ConfigDict(extra="allow")

    type: StrictStr
    text: StrictStr | None = None
    refusal: StrictStr | None = None


class ChatMessage(BaseModel):
    """A message in any of OpenAI's roles; `content` may be null beside tool calls."""

    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    content: StrictStr | list[ContentPart] | None = None
    refusal: StrictStr | None = None
    tool_calls: list[Any] | None = None
    function_call: Any = None


class StreamOptions(BaseModel):
    include_usage: StrictBool | None = None


class ChatRequest(BaseModel):
    """The fields we act on. The others are kept in `model_extra` and judged by translate/parameters.py."""

    model_config = ConfigDict(extra="allow")

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    model: StrictStr | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[StrictInt, Field(ge=1)] | None = None
    max_tokens: Annotated[StrictInt, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[StrictInt, Field(ge=1)] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    metadata: dict[str, Any] | None = None
    session_id: Annotated[StrictStr, Field(min_length=1, max_length=256)] | None = Field(
        None, description="ours: continue a conversation that the server keeps"
    )
    stream_mode: Literal["live", "buffered"] | None = Field(None, description="ours: see CLAUDE_STREAM_MODE")


class PromptTokensDetails(BaseModel):
    cached_tokens: int


class CompletionTokensDetails(BaseModel):
    reasoning_tokens: int


class Usage(BaseModel):
    """Real counts. `prompt_tokens` includes cache reads and writes, which are also given by themselves."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails
    cache_read_input_tokens: int
    cache_creation_input_tokens: int


class XClaude(BaseModel):
    """What OpenAI's shape has no place for. `cost_usd` is an estimate: a subscription bills nothing."""

    model: str
    cost_usd: float | None
    duration_ms: int
    retries: int
    engine: str
    session_id: str | None = None
    session: Literal["created", "resumed", "recreated"] | None = None
    notices: list[str] = []


FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class AnswerMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None = None


class Choice(BaseModel):
    index: int
    message: AnswerMessage
    logprobs: None = None
    finish_reason: FinishReason


class ChatCompletion(BaseModel):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    system_fingerprint: None = None
    metadata: dict[str, Any] | None = None
    x_claude: XClaude


class Delta(BaseModel):
    role: Literal["assistant"] | None = None
    content: str | None = None


class ChunkChoice(BaseModel):
    index: int
    delta: Delta
    logprobs: None = None
    finish_reason: FinishReason | None = None


class ChatChunk(BaseModel):
    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    system_fingerprint: None = None
    usage: Usage | None = None
    x_claude: XClaude | None = None
