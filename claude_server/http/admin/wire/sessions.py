"""/v1/sessions: what is told of the conversations that the server keeps. Times are ISO 8601, in UTC."""

from __future__ import annotations

from pydantic import BaseModel, Field


class SessionInfo(BaseModel):
    """A session that hasn't expired. `message_count`: the user's and the assistant's messages."""

    session_id: str
    created_at: str
    last_accessed: str
    message_count: int | None = Field(description="null: the conversation was found without a record")
    expires_at: str
    turns: int = Field(description="ours: answers so far")
    cost_usd: float | None = Field(description="ours: the CLI's estimate for the whole session")


class SessionList(BaseModel):
    """A page: the one that was used last comes first. `total`: of all pages."""

    sessions: list[SessionInfo]
    total: int


class SessionDeleted(BaseModel):
    message: str


class SessionCounts(BaseModel):
    """`expired_sessions` are no longer listed; a turn goes on with them. `total_messages`: of active ones."""

    active_sessions: int
    expired_sessions: int
    total_messages: int


class SessionStats(BaseModel):
    session_stats: SessionCounts
    cleanup_interval_minutes: int | float
    default_ttl_hours: int | float
