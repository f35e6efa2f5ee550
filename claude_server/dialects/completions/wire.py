"""POST /v1/completions: what comes in and what goes out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from claude_server.dialects.base import TurnBody
from claude_server.dialects.counts import Usage
from claude_server.dialects.x_claude import XClaude

StopTexts = Annotated[list[StrictStr], Field(max_length=4, fail_fast=True)]
_Texts = Annotated[list[StrictStr], Field(min_length=1, fail_fast=True)]
_Tokens = Annotated[list[StrictInt], Field(min_length=1, fail_fast=True)]
_ListsOfTokens = Annotated[list[_Tokens], Field(min_length=1, fail_fast=True)]


class StreamOptions(BaseModel):
    include_usage: StrictBool | None = None


class CompletionRequest(TurnBody):
    """The fields that are acted on. Of the others some are refused, and some named in x-ignored-params."""

    # The others are kept in `model_extra`, for claude_server/dialects/completions/parameters.py to judge.
    model_config = ConfigDict(extra="allow")

    # Token ids are refused, with a sentence.
    prompt: StrictStr | _Texts | _Tokens | _ListsOfTokens
    suffix: StrictStr | None = None
    echo: StrictBool | None = None
    max_tokens: Annotated[StrictInt, Field(ge=1)] | None = None
    n: Annotated[StrictInt, Field(ge=1)] | None = None
    best_of: Annotated[StrictInt, Field(ge=1)] | None = None
    stop: StrictStr | StopTexts | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[StrictFloat, Field(ge=0, le=2)] | None = None
    top_p: Annotated[StrictFloat, Field(ge=0, le=1)] | None = None
    user: StrictStr | dict[str, Any] | None = None


FinishReason = Literal["stop", "length", "content_filter"]


class Choice(BaseModel):
    """In a stream `text` is what is new."""

    index: int
    text: str
    logprobs: None = None
    finish_reason: FinishReason | None = None


class Completion(BaseModel):
    """Whole, or a chunk of a stream."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[Choice]
    system_fingerprint: None = None
    usage: Usage | None = None
    x_claude: XClaude | None = None
