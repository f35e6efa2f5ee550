"""GET /v1/models and /v1/models/{id}."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request

from claude_server.core.errors import ModelNotFound
from claude_server.http.admin.wire.models import Model, ModelList
from claude_server.http.guard.caller import caller_of
from claude_server.http.model_names import listing, permitted
from claude_server.http.state import app_context

router = APIRouter(tags=["models"])


@router.get("/v1/models")
async def list_models(request: Request) -> ModelList:
    """The models that the installed CLI names, the documented aliases, and names that leave the choice.

    A key that may use some models only is shown those.
    """
    return ModelList(data=_all(request))


@router.get("/v1/models/{model_id:path}")
async def get_model(request: Request, model_id: str) -> Model:
    """One model of the list."""
    for model in _all(request):
        if model.id == model_id:
            return model
    raise ModelNotFound(f"There is no model '{model_id[:100]}'. GET /v1/models lists them.", param="model")


def _all(request: Request) -> list[Model]:
    context = app_context(request)
    allowed = caller_of(request.scope).models
    return [
        model
        for model in listing(context.backend.models, context.policy.default_model, context.service.started_at)
        if permitted(model.id, context.policy.default_model, allowed)
    ]
