"""The error body that every endpoint answers with."""

from __future__ import annotations

from pydantic import BaseModel


class ErrorDetail(BaseModel):
    """All four keys are always there; clients read them."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    error: ErrorDetail


class RateLimitDetail(ErrorDetail):
    """A rate limit of this server. `retry_after`: seconds left in the window."""

    retry_after: int


class RateLimitBody(BaseModel):
    error: RateLimitDetail
