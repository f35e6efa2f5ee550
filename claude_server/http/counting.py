"""Counts of tokens, in every dialect that has them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from claude_server.dialects.base import Counting, Dialect
from claude_server.http import body
from claude_server.http.openapi import json_body
from claude_server.http.preparing import prepare
from claude_server.http.state import app_context
from claude_server.telemetry.requests import annotate

_MAX_LOGGED_CHARS = 100
ESTIMATE_HEADER = "x-claude-token-count"


def add_routes(router: APIRouter, dialect: Dialect[Any], counting: Counting[Any]) -> None:
    """The routes of a dialect's counts, under each of its paths; the first one is in the document."""

    async def count(request: Request) -> Response:
        return await _count(request, dialect, counting)

    for path in dialect.paths:
        router.add_api_route(
            f"{path}{counting.path}",
            count,
            methods=["POST"],
            description=(
                "Count the tokens of a prompt. Nothing is asked of the model. Where the installed claude CLI "
                f"can't have the API count, the header {ESTIMATE_HEADER} says `estimate`."
            ),
            response_model=counting.answer,
            openapi_extra=json_body(counting.request),
            tags=[dialect.name],
            include_in_schema=path == dialect.path,
        )


async def _count(request: Request, dialect: Dialect[Any], counting: Counting[Any]) -> Response:
    asked = await body.parse_body(request, counting.request)
    prepared = await prepare(request, dialect, asked)
    # Equal turns, if there are several: one prompt.
    count = await app_context(request).counter.count(prepared.turns[0])
    annotate(
        request.scope,
        model=(asked.model or "default")[:_MAX_LOGGED_CHARS],
        counted=count.tokens,
        exact=count.exact,
        outcome="ok",
    )
    headers = {} if count.exact else {ESTIMATE_HEADER: "estimate"}
    return Response(counting.present(count.tokens), 200, headers, "application/json")
