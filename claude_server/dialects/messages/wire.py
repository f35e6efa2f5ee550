"""POST /v1/messages and /v1/messages/count_tokens: what comes in."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from claude_server.dialects.api_blocks import Block
from claude_server.dialects.base import FailFastList, TurnBody

Effort = Literal["low", "medium", "high", "xhigh", "max"]


class InputMessage(BaseModel):
    role: Literal["user", "assistant", "system"]
    content: StrictStr | FailFastList[Block]


class SystemBlock(BaseModel):
    type: Literal["text"]
    text: StrictStr
    cache_control: dict[str, Any] | None = None


class Tool(BaseModel):
    """A tool of the client's: described here, or one of the kinds that the API describes itself."""

    model_config = ConfigDict(extra="allow")

    type: StrictStr | None = None
    name: StrictStr | None = None
    description: StrictStr | None = None
    input_schema: dict[str, Any] | None = None
    strict: StrictBool | None = None
    cache_control: dict[str, Any] | None = None


class ToolChoice(BaseModel):
    type: Literal["auto", "any", "tool", "none"]
    name: StrictStr | None = None
    disable_parallel_tool_use: StrictBool | None = None


class Format(BaseModel):
    """`schema` is that of the answer."""

    type: Literal["json_schema"]
    schema_: dict[str, Any] | None = Field(None, alias="schema")


class OutputConfig(BaseModel):
    model_config = ConfigDict(extra="allow")

    effort: Effort | None = None
    format: Format | None = None


class Thinking(BaseModel):
    model_config = ConfigDict(extra="allow")

    type: Literal["enabled", "adaptive", "disabled", "between_tools"]
    budget_tokens: StrictInt | None = None
    display: Literal["summarized", "omitted"] | None = None


class Metadata(BaseModel):
    user_id: StrictStr | None = None


class CountRequest(TurnBody):
    """What a prompt is made of: a request whose tokens are counted has no more."""

    # The others are kept in `model_extra`, for parameters.py to judge.
    model_config = ConfigDict(extra="allow")

    messages: Annotated[FailFastList[InputMessage], Field(min_length=1)]
    system: StrictStr | FailFastList[SystemBlock] | None = None
    tools: FailFastList[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: Format | None = Field(None, description="an older place of output_config.format")
    max_tokens: Annotated[StrictInt, Field(ge=1)] | None = None
    stop_sequences: Annotated[list[StrictStr], Field(max_length=64, fail_fast=True)] | None = None
    metadata: Metadata | None = None
    temperature: Annotated[StrictFloat, Field(ge=0, le=1)] | None = None
    top_p: Annotated[StrictFloat, Field(ge=0, le=1)] | None = None
    top_k: Annotated[StrictInt, Field(ge=0)] | None = None
    service_tier: StrictStr | None = None
    thread: Any = None


class MessagesRequest(CountRequest):
    """The fields that are acted on. Of the others some are refused, and some named in x-ignored-params."""

    max_tokens: Annotated[StrictInt, Field(ge=1)]
