"""GET /v1/models and /v1/models/{id}."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from claude_server.core.errors import ModelNotFound
from claude_server.dialects import table
from claude_server.dialects.base import Dialect
from claude_server.http.admin.wire.models import Model, ModelList
from claude_server.http.guard.caller import caller_of
from claude_server.http.model_names import listing, permitted
from claude_server.http.state import app_context

router = APIRouter(tags=["models"])


@router.get("/v1/models", response_model=ModelList)
async def list_models(request: Request) -> ModelList | Response:
    """The models that the installed CLI names, the documented aliases, and names that leave the choice.

    A key that may use some models only is shown those. A client that sends the header of another dialect
    gets that one's shape.
    """
    shapes = _dialect(request).models
    if shapes is not None:
        return Response(shapes.page(_all(request)), media_type="application/json")
    return ModelList(data=_all(request))


@router.get("/v1/models/{model_id:path}", response_model=Model)
async def get_model(request: Request, model_id: str) -> Model | Response:
    """One model of the list."""
    shapes = _dialect(request).models
    for model in _all(request):
        if model.id == model_id:
            return model if shapes is None else Response(shapes.one(model), media_type="application/json")
    raise ModelNotFound(f"There is no model '{model_id[:100]}'. GET /v1/models lists them.", param="model")


def _dialect(request: Request) -> Dialect[Any]:
    return table.dialect_of(request.url.path, request.scope["headers"])


def _all(request: Request) -> list[Model]:
    context = app_context(request)
    allowed = caller_of(request.scope).models
    return [
        model
        for model in listing(context.backend.models, context.policy.default_model, context.service.started_at)
        if permitted(model.id, context.policy.default_model, allowed)
    ]
