"""The one route body that the requests of every dialect go through: parse, prepare, run, present."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from claude_server.core.errors import TurnError
from claude_server.core.model import TurnEvent, TurnStarted
from claude_server.core.responses import KeptResponses
from claude_server.dialects import table
from claude_server.dialects.base import Dialect, Prepared
from claude_server.http import background, body, counting, sse
from claude_server.http.choices import merge_runs
from claude_server.http.connection import while_connected
from claude_server.http.keeping import keep
from claude_server.http.openapi import json_body
from claude_server.http.preparing import prepare
from claude_server.http.state import app_context
from claude_server.telemetry.requests import annotate

# Longest model name that is logged.
_MAX_LOGGED_CHARS = 100
_Events = AsyncGenerator[tuple[int, TurnEvent], None]


def build_router() -> APIRouter:
    """A route for each dialect of the table."""
    router = APIRouter()
    for dialect in table.DIALECTS:
        _add_routes(router, dialect)
        if dialect.counting is not None:
            counting.add_routes(router, dialect, dialect.counting)
    return router


def _add_routes(router: APIRouter, dialect: Dialect[Any]) -> None:
    async def create(request: Request) -> Response:
        return await _answer(request, dialect)

    for path in dialect.paths:
        router.add_api_route(
            path,
            create,
            methods=["POST"],
            description=dialect.purpose,
            response_model=dialect.answer,
            openapi_extra=json_body(dialect.request),
            tags=[dialect.name],
            include_in_schema=path == dialect.path,
        )


async def _answer(request: Request, dialect: Dialect[Any]) -> Response:
    context = app_context(request)
    asked = await body.parse_body(request, dialect.request)
    prepared = await prepare(request, dialect, asked)
    annotate(
        request.scope,
        model=(asked.model or "default")[:_MAX_LOGGED_CHARS],
        stream=bool(asked.stream),
        session=any(turn.session_id is not None for turn in prepared.turns),
        **({"ignored": ",".join(prepared.ignored)} if prepared.ignored else {}),
        **prepared.facts,
    )
    headers = {"x-ignored-params": ", ".join(prepared.ignored)} if prepared.ignored else {}
    if prepared.lasting is not None:
        return await background.taken(request, prepared, prepared.lasting, headers, stream=bool(asked.stream))
    events = merge_runs([context.runner.run(turn) for turn in prepared.turns])
    if asked.stream:
        data = _stream(events, prepared, context.kept, headers)
        return sse.EventStream(data, prepared.presenter, headers, sse.StreamTimings(), context.runner.drain)
    answers = await _collect(request, events, len(prepared.turns))
    if answers is None:
        return Response(status_code=499)
    headers |= _session_header(answers[0][0])
    return Response(await _whole(answers, prepared, context.kept), 200, headers, "application/json")


async def _collect(request: Request, events: _Events, count: int) -> list[list[TurnEvent]] | None:
    """Collect the events of each turn; None if the client disconnected first."""
    answers: list[list[TurnEvent]] = [[] for _ in range(count)]
    failure: list[TurnError] = []

    async def work() -> None:
        try:
            async with aclosing(events):
                async for index, event in events:
                    answers[index].append(event)
        except TurnError as error:
            failure.append(error)

    if not await while_connected(request.receive, app_context(request).runner.drain, work):
        annotate(request.scope, outcome="client_gone")
        return None
    if failure:
        raise failure[0]
    return answers


async def _whole(answers: list[list[TurnEvent]], prepared: Prepared, kept: KeptResponses) -> bytes:
    whole = prepared.presenter.whole(answers)
    if prepared.keeper is None or await keep(kept, prepared.keeper):
        return whole
    return prepared.presenter.whole(answers)


async def _stream(
    events: _Events, prepared: Prepared, kept: KeptResponses, headers: dict[str, str]
) -> AsyncGenerator[bytes, None]:
    """The turns as SSE data; fills `headers` before the first event."""
    # Effectively synchronous: the runner's cleanup awaits nothing.
    async with aclosing(events):
        async for index, event in events:
            headers |= _session_header(event)
            data = sse.encoded(prepared.presenter.events(index, event))
            if data:
                yield data
        # Written before it is promised.
        if prepared.keeper is not None:
            await keep(kept, prepared.keeper)
        yield sse.encoded(prepared.presenter.end())


def _session_header(event: TurnEvent) -> dict[str, str]:
    if isinstance(event, TurnStarted) and event.session is not None:
        return {"x-claude-session": event.session}
    return {}
