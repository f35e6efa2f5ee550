"""The error body of Anthropic's endpoints. Pure."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from claude_server.dialects.base import Failure

_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
# The API's own status for a failure's code.
STATUSES = {"overloaded": 529}
# Clients know a prompt that is too long by these words.
_TOO_LONG = "prompt is too long"
# By these details a client's tool runner knows to send the whole conversation from now on.
_NO_THREADS = {"error_code": "thread_unsupported_request"}


class MessagesError(BaseModel):
    type: str
    message: str
    details: dict[str, Any] | None = None


class MessagesErrorBody(BaseModel):
    type: Literal["error"] = "error"
    error: MessagesError
    request_id: str | None = None


def error_body(failure: Failure) -> bytes:
    """The JSON of a failure: an answer's body, or the data of a stream's last event."""
    status = STATUSES.get(failure.code, failure.status)
    usual = "api_error" if status >= 500 else "invalid_request_error"
    message = failure.message
    if failure.code == "context_length_exceeded":
        said = message.lower().startswith(_TOO_LONG)
        message = _TOO_LONG + (message[len(_TOO_LONG) :] if said else f": {message}")
    details = _NO_THREADS if failure.param == "thread" else None
    error = MessagesError(type=_TYPES.get(status, usual), message=message, details=details)
    body = MessagesErrorBody(error=error, request_id=failure.request_id or None)
    kept = body.model_dump()
    if details is None:
        del kept["error"]["details"]
    return MessagesErrorBody.model_construct(**kept).model_dump_json(warnings=False).encode()
