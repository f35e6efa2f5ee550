"""Request bodies in the OpenAPI document of routes that parse their body themselves.

They do so since pydantic reads the bytes faster than json and then pydantic would, and refuses what json lets
through: NaN, lone surrogates, endless nesting.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from wire.chat import ChatRequest
from wire.cli_tools import ToolConfigUpdate
from wire.mcp import McpServerIn, McpServerName

_KEY = "api_key"
_REF = "#/components/schemas/{model}"
_BODIES: tuple[type[BaseModel], ...] = (ChatRequest, ToolConfigUpdate, McpServerIn, McpServerName)


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """The `openapi_extra` of a route that takes `model`."""
    schema = {"$ref": _REF.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def install(app: FastAPI) -> None:
    """Put the bodies' schemas, and how a key is sent, into the application's document."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = made()
            _, definitions = models_json_schema([(m, "validation") for m in _BODIES], ref_template=_REF)
            components = document.setdefault("components", {})
            components.setdefault("schemas", {}).update(definitions["$defs"])
            components["securitySchemes"] = {_KEY: {"type": "http", "scheme": "bearer"}}
            # One or none: without keys the server asks for none.
            document["security"] = [{_KEY: []}, {}]
        return made()

    app.openapi = openapi  # type: ignore[method-assign]
