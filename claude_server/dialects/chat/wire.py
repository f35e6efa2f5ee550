"""POST /v1/chat/completions: what comes in and what goes out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    model_serializer,
)

from claude_server.dialects.base import FailFastList, TurnBody
from claude_server.dialects.chat.anthropic_tools import choice, function
from claude_server.dialects.counts import Usage
from claude_server.dialects.openai_terms import Effort, Verbosity
from claude_server.dialects.x_claude import XClaude

StopTexts = Annotated[list[StrictStr], Field(max_length=4, fail_fast=True)]


class ImageUrl(BaseModel):
    url: StrictStr


class FilePart(BaseModel):
    """`file_data` is a data URL."""

    file_data: StrictStr | None = None
    file_id: StrictStr | None = None
    filename: StrictStr | None = None


class ContentPart(BaseModel):
    """A part of a message; which field it has goes by its type."""

    model_config = ConfigDict(extra="allow")

    type: StrictStr
    text: StrictStr | None = None
    refusal: StrictStr | None = None
    image_url: ImageUrl | StrictStr | None = None
    file: FilePart | None = None


class FunctionCall(BaseModel):
    """`arguments` is JSON text, as the model wrote it."""

    name: StrictStr
    arguments: StrictStr = ""


class ToolCall(BaseModel):
    id: StrictStr
    type: Literal["function"] = "function"
    function: FunctionCall


class ChatMessage(BaseModel):
    """A message in any of OpenAI's roles; `content` may be null beside tool calls. `reasoning_details`: an
    assistant's, as they were sent; what is none of ours in it is left out."""

    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    content: StrictStr | FailFastList[ContentPart] | None = None
    name: StrictStr | None = None
    refusal: StrictStr | None = None
    tool_calls: FailFastList[ToolCall] | None = None
    tool_call_id: StrictStr | None = None
    function_call: FunctionCall | None = None
    reasoning_details: Any = None


class Function(BaseModel):
    """A function that the model may call; `parameters` is the schema of its arguments."""

    name: StrictStr
    description: StrictStr | None = None
    parameters: dict[str, Any] | None = None
    strict: StrictBool | None = None


class ToolDefinition(BaseModel):
    type: Literal["function"] = "function"
    function: Function


class Named(BaseModel):
    name: StrictStr


class NamedTool(BaseModel):
    type: Literal["function"] = "function"
    function: Named


class AllowedTools(BaseModel):
    mode: Literal["auto", "required"]
    tools: FailFastList[NamedTool]


class AllowedToolsChoice(BaseModel):
    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


class JsonSchema(BaseModel):
    """`schema` left out is any JSON."""

    name: StrictStr
    description: StrictStr | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")


class ResponseFormat(BaseModel):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class TextBlock(BaseModel):
    """Anthropic's form of a text."""

    type: Literal["text"]
    text: StrictStr


class StreamOptions(BaseModel):
    include_usage: StrictBool | None = None


# Or in Anthropic's shapes.
_Tool = Annotated[ToolDefinition, BeforeValidator(function)]
_Choice = Annotated[
    Literal["none", "auto", "required"] | NamedTool | AllowedToolsChoice | None, BeforeValidator(choice)
]


class ChatRequest(TurnBody):
    """The fields that are acted on. Of the others some are refused, and some named in x-ignored-params."""

    # The others are kept in `model_extra`, for claude_server/dialects/chat/parameters.py to judge.
    model_config = ConfigDict(extra="allow")

    messages: Annotated[FailFastList[ChatMessage], Field(min_length=1)]
    stream_options: StreamOptions | None = None
    n: Annotated[StrictInt, Field(ge=1)] | None = None
    max_tokens: Annotated[StrictInt, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[StrictInt, Field(ge=1)] | None = None
    stop: StrictStr | StopTexts | None = None
    temperature: Annotated[StrictFloat, Field(ge=0, le=2)] | None = None
    top_p: Annotated[StrictFloat, Field(ge=0, le=1)] | None = None
    reasoning_effort: Effort | None = None
    verbosity: Verbosity | None = None
    tools: FailFastList[_Tool] | None = None
    tool_choice: _Choice = None
    parallel_tool_calls: StrictBool | None = None
    functions: FailFastList[Function] | None = None
    function_call: Literal["none", "auto"] | Named | None = None
    response_format: ResponseFormat | None = None
    metadata: dict[str, StrictStr] | None = None
    # Open WebUI sends an object.
    user: StrictStr | dict[str, Any] | None = None
    safety_identifier: StrictStr | None = None
    prompt_cache_key: StrictStr | None = None
    service_tier: StrictStr | None = None
    prompt_cache_retention: StrictStr | None = None
    system: StrictStr | FailFastList[TextBlock] | None = Field(
        None, description="Anthropic's: text of the prompt, before that of the messages"
    )
    stop_sequences: StopTexts | None = Field(None, description="Anthropic's: as 'stop'")
    thinking: Any = Field(None, description='Anthropic\'s: {"type": "disabled"} for no thinking')
    session_id: Annotated[StrictStr, Field(min_length=1, max_length=256)] | None = Field(
        None, description="ours: continue a conversation that the server keeps"
    )
    enable_tools: StrictBool | None = Field(
        None, description="ours: the CLI may run tools of its own, where the operator allows it"
    )
    stream_mode: Literal["live", "buffered"] | None = Field(None, description="ours: see CLAUDE_STREAM_MODE")


FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class ReasoningDetail(BaseModel):
    """A thought, or in a stream a piece of one. Its text has a signature, which comes last; of a redacted one
    there is only `data`."""

    type: Literal["reasoning.text", "reasoning.encrypted"]
    text: str | None = None
    signature: str | None = None
    data: str | None = None
    format: str | None = None
    index: int

    @model_serializer(mode="wrap")
    def _present(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {k: v for k, v in whole(self).items() if v is not None}


class AnswerMessage(BaseModel):
    """Thinking is under the name that CLAUDE_REASONING_FIELD says, `reasoning_content` or `reasoning`, and in
    `reasoning_details`."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: FunctionCall | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[ReasoningDetail] | None = None

    @model_serializer(mode="wrap")
    def _present(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What isn't there is left out, but for the two that OpenAI has always."""
        return {k: v for k, v in whole(self).items() if v is not None or k in ("content", "refusal")}


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
    metadata: dict[str, str] | None = None
    x_claude: XClaude


class FunctionCallDelta(BaseModel):
    name: str | None = None
    arguments: str | None = None


class ToolCallDelta(BaseModel):
    """`id`, `type` and the function's name come once, with the call's first piece."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionCallDelta


class Delta(BaseModel):
    role: Literal["assistant"] | None = None
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallDelta] | None = None
    function_call: FunctionCallDelta | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[ReasoningDetail] | None = None


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
