"""What the endpoints beside POST /v1/responses take and give: kept responses and conversations. Pure."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StrictStr

from claude_server.dialects.base import FailFastList
from claude_server.dialects.responses.wire import AnyItem


class ItemList(BaseModel):
    """A page of items."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ResponseDeleted(BaseModel):
    id: str
    object: Literal["response.deleted"] = "response.deleted"
    deleted: Literal[True] = True


class Conversation(BaseModel):
    id: str
    object: Literal["conversation"] = "conversation"
    created_at: int
    metadata: dict[str, str]


class ConversationDeleted(BaseModel):
    id: str
    object: Literal["conversation.deleted"] = "conversation.deleted"
    deleted: Literal[True] = True


class ConversationCreate(BaseModel):
    """`items` are the beginning of the conversation."""

    items: Annotated[FailFastList[AnyItem], Field(max_length=20)] | None = None
    metadata: dict[str, StrictStr] | None = None


class ConversationUpdate(BaseModel):
    metadata: dict[str, StrictStr]


class ItemsCreate(BaseModel):
    items: Annotated[FailFastList[AnyItem], Field(min_length=1, max_length=20)]
