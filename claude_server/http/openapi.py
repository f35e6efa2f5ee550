"""The OpenAPI document where FastAPI doesn't know it: request bodies that routes parse themselves, and
errors, which have the shape of their dialect and never the status 422.

Bodies are parsed so since pydantic reads the bytes faster than json and then pydantic would, and refuses what
json lets through: NaN, lone surrogates, endless nesting.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from claude_server.dialects import table
from claude_server.http.admin.wire.cli_tools import ToolConfigUpdate
from claude_server.http.admin.wire.mcp import McpServerIn, McpServerName
from claude_server.http.admin.wire.responses import ConversationCreate, ConversationUpdate, ItemsCreate

_KEY = "api_key"
_REF = "#/components/schemas/{model}"
_BODIES: tuple[type[BaseModel], ...] = (
    ToolConfigUpdate,
    McpServerIn,
    McpServerName,
    ConversationCreate,
    ConversationUpdate,
    ItemsCreate,
)
_FASTAPIS = ("HTTPValidationError", "ValidationError")


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """The `openapi_extra` of a route that takes `model`."""
    return {"requestBody": {"required": True, "content": _content(model)}}


def install(app: FastAPI) -> None:
    """Put the bodies' schemas, the errors, and how a key is sent, into the application's document."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = made()
            models = [*_BODIES, *(m for each in table.DIALECTS for m in (each.request, each.error_body))]
            models += [each.counting.request for each in table.DIALECTS if each.counting is not None]
            _, definitions = models_json_schema([(m, "validation") for m in models], ref_template=_REF)
            components = document.setdefault("components", {})
            schemas = components.setdefault("schemas", {})
            schemas.update(definitions["$defs"])
            for name in _FASTAPIS:
                schemas.pop(name, None)
            for path, operations in document["paths"].items():
                error = {"description": "Any error", "content": _content(table.dialect_of(path).error_body)}
                for operation in operations.values():
                    operation["responses"].pop("422", None)
                    operation["responses"]["default"] = error
            components["securitySchemes"] = {_KEY: {"type": "http", "scheme": "bearer"}}
            # One or none: without keys the server asks for none.
            document["security"] = [{_KEY: []}, {}]
        return made()

    app.openapi = openapi  # type: ignore[method-assign]


def _content(model: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REF.format(model=model.__name__)}}}
