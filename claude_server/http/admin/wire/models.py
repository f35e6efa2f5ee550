"""GET /v1/models."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class Model(BaseModel):
    """`display_name` and `resolves_to` are ours: the CLI's own words for the model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    display_name: str | None = None
    resolves_to: str | None = None


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]
