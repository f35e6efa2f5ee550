"""What a request's key means for its turn."""

from __future__ import annotations

from dataclasses import replace

from starlette.requests import Request

from guard.caller import caller_of
from routes.state import app_context
from translate.models import permitted
from turns.errors import ModelNotFound
from turns.model import TurnRequest


def authorize(request: Request, turn: TurnRequest, model: str | None) -> TurnRequest:
    """The turn as its key's own. `model`: the name as the client sent it.

    Raises ModelNotFound, as for a model that isn't there: that is what clients know how to handle, and
    nothing is said of what other keys may use.
    """
    caller = caller_of(request.scope)
    if not permitted(model or "", app_context(request).default_model, caller.models):
        name = (model or "default")[:100]
        raise ModelNotFound(
            f"There is no model '{name}' for this API key. GET /v1/models lists those that it may use.",
            param="model",
        )
    return replace(turn, owner=caller.id)
