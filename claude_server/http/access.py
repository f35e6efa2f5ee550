"""Authorization: what a request's key may use, and who owns its turn."""

from __future__ import annotations

from starlette.requests import Request

from claude_server.core.errors import ModelNotFound
from claude_server.http.guard.caller import caller_of
from claude_server.http.model_names import permitted
from claude_server.http.state import app_context


def authorize(request: Request, model: str | None) -> str:
    """Check that the key may use `model`, the name as the client sent it. Returns who owns the turn.

    Raises ModelNotFound, as for an unknown model: clients can handle that, and it tells nothing of what other
    keys may use.
    """
    caller = caller_of(request.scope)
    if not permitted(model or "", app_context(request).policy.default_model, caller.models):
        name = (model or "default")[:100]
        raise ModelNotFound(
            f"There is no model '{name}' for this API key. GET /v1/models lists those that it may use.",
            param="model",
        )
    return caller.id
