"""The error body of OpenAI's endpoints. Pure."""

from __future__ import annotations

from pydantic import BaseModel

from claude_server.dialects.base import Failure, FieldError

_REQUEST, _SERVER = "invalid_request_error", "server_error"
_TOO_MANY = "too_many_requests"
# The type goes by the status, ...
_TYPES = {403: "permission_error", 429: "rate_limit_error"}
# ... but for these codes.
_TYPES_BY_CODE = {"foreign_origin": _REQUEST, _TOO_MANY: "rate_limit_exceeded"}


class ErrorDetail(BaseModel):
    """All four keys are always there; clients read them."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    error: ErrorDetail


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


def error_body(failure: Failure) -> bytes:
    """The JSON of a failure: an answer's body, or the data of a stream's last event."""
    usual = _SERVER if failure.status >= 500 else _REQUEST
    kind = _TYPES_BY_CODE.get(failure.code) or _TYPES.get(failure.status, usual)
    error = ErrorDetail(message=failure.message, type=kind, param=failure.param, code=failure.code)
    body: BaseModel = ErrorBody(error=error)
    if failure.details:
        details = [FieldError.model_validate(item) for item in failure.details]
        body = ValidationErrorBody(error=ValidationErrorDetail(**error.model_dump(), details=details))
    elif failure.code == _TOO_MANY and failure.retry_after is not None:
        body = RateLimitBody(error=RateLimitDetail(**error.model_dump(), retry_after=failure.retry_after))
    return body.model_dump_json().encode()
