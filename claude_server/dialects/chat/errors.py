"""The error body that every endpoint answers with."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class ErrorDetail(BaseModel):
    """All four keys are always there; clients read them."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    error: ErrorDetail


class FieldError(BaseModel):
    """`field`: where in the body, with dots; "" for the body itself. `input`: what is there."""

    field: str
    message: str
    type: str
    input: Any


class ValidationErrorDetail(ErrorDetail):
    """A body that is no request. `input` is null where it isn't short."""

    details: list[FieldError]


class ValidationErrorBody(BaseModel):
    error: ValidationErrorDetail


class RateLimitDetail(ErrorDetail):
    """A rate limit of this server. `retry_after`: seconds left in the window."""

    retry_after: int


class RateLimitBody(BaseModel):
    error: RateLimitDetail
