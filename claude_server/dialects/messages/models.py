"""The models of Anthropic's API. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Literal

from pydantic import BaseModel

from claude_server.dialects.base import ListedModel
from claude_server.dialects.model_names import PLACEHOLDERS


class AnthropicModel(BaseModel):
    """`created_at`: the server's start, since the CLI doesn't tell."""

    type: Literal["model"] = "model"
    id: str
    display_name: str
    created_at: str
    lifecycle: Literal["active"] = "active"


class AnthropicModelPage(BaseModel):
    data: list[AnthropicModel]
    has_more: bool
    first_id: str | None
    last_id: str | None


def page(listed: Iterable[ListedModel]) -> bytes:
    """All models on one page, each once, by the ids that their names stand for."""
    models: dict[str, AnthropicModel] = {}
    for model in listed:
        if model.resolves_to is not None or model.id not in PLACEHOLDERS:
            models.setdefault(model.resolves_to or model.id, _shown(model))
    data = [*models.values()]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return (
        AnthropicModelPage(data=data, has_more=False, first_id=first, last_id=last).model_dump_json().encode()
    )


def one(model: ListedModel) -> bytes:
    """One model, by the id that its name stands for."""
    return _shown(model).model_dump_json().encode()


def _shown(model: ListedModel) -> AnthropicModel:
    when = datetime.fromtimestamp(model.created, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    name = model.display_name or model.id
    return AnthropicModel(id=model.resolves_to or model.id, display_name=name, created_at=when)
