"""POST /v1/chat/completions."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator

from fastapi import APIRouter
from pydantic import ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from routes import body, errors, sse
from routes.access import owned
from routes.connection import while_connected
from routes.openapi import json_body
from routes.state import shared
from telemetry.requests import note
from translate import chat as translate
from turns.errors import TurnError
from turns.model import TurnDone, TurnEvent, TurnStarted
from wire.chat import ChatCompletion, ChatRequest

router = APIRouter()


@router.post(
    "/v1/chat/completions", response_model=ChatCompletion, openapi_extra=json_body(ChatRequest), tags=["chat"]
)
async def create(request: Request) -> Response:
    """Answer a chat. With `stream` the answer comes as server-sent events."""
    parts = shared(request)
    try:
        raw = await body.read(request, parts.max_request_size, parts.body_within)
        asked = ChatRequest.model_validate_json(raw)
    except ValidationError as error:
        raise errors.invalid(error) from None
    except ClientDisconnect:
        note(request.scope, outcome="client_gone")
        return Response(status_code=499)
    turn, ignored = translate.to_turn(
        asked,
        f"chatcmpl-{uuid.uuid4().hex}",
        default_model=parts.default_model,
        stream_mode=parts.stream_mode,
    )
    turn = owned(request, turn, asked.model)
    note(
        request.scope,
        model=asked.model or "default",
        stream=bool(asked.stream),
        session=turn.session_id is not None,
    )
    headers = {"x-ignored-params": ", ".join(ignored)} if ignored else {}
    head = translate.Head(turn.id, asked.model or "", int(time.time()), turn.session_id)
    events = parts.runner.run(turn)
    if asked.stream:
        writer = translate.ChunkWriter(
            head,
            include_usage=bool(asked.stream_options and asked.stream_options.include_usage),
            slice_chars=parts.chunk_chars if turn.buffered else None,
        )
        data = _stream(request, events, writer, headers)
        times = sse.Times(parts.first_event_hold, parts.ping_interval, parts.send_within)
        return sse.EventStream(data, headers, times, parts.runner.drain)
    collected = await _collect(request, events)
    if collected is None:
        return Response(status_code=499)
    headers |= _session_header(collected[0])
    answer = translate.completion(collected, head, asked.metadata)
    return Response(answer.model_dump_json(), 200, headers, "application/json")


async def _collect(request: Request, events: AsyncGenerator[TurnEvent, None]) -> list[TurnEvent] | None:
    """The whole turn; None if the client hung up before it was there."""
    collected: list[TurnEvent] = []
    failure: list[TurnError] = []

    async def work() -> None:
        try:
            async for event in events:
                collected.append(event)
                _note_end(request, event)
        except TurnError as error:
            failure.append(error)

    if not await while_connected(request.receive, shared(request).runner.drain, work):
        note(request.scope, outcome="client_gone")
        return None
    if failure:
        raise failure[0]
    return collected


async def _stream(
    request: Request,
    events: AsyncGenerator[TurnEvent, None],
    writer: translate.ChunkWriter,
    headers: dict[str, str],
) -> AsyncGenerator[bytes, None]:
    """The turn as SSE data; fills `headers` before its first."""
    try:
        async for event in events:
            headers |= _session_header(event)
            data = b"".join(sse.event(writer.encode(chunk)) for chunk in writer.chunks(event))
            if data:
                yield data
            _note_end(request, event)
        yield sse.DONE
    finally:
        # Synchronous as far as it goes: the runner's cleanup awaits nothing.
        await events.aclose()


def _session_header(event: TurnEvent | None) -> dict[str, str]:
    if isinstance(event, TurnStarted) and event.session is not None:
        return {"x-claude-session": event.session}
    return {}


def _note_end(request: Request, event: TurnEvent) -> None:
    if isinstance(event, TurnDone):
        note(
            request.scope,
            outcome="ok",
            answered_by=event.model,
            prompt_tokens=event.usage.prompt_tokens,
            cached_tokens=event.usage.cache_read_tokens,
            completion_tokens=event.usage.output_tokens,
            cost_usd=None if event.cost_usd is None else round(event.cost_usd, 6),
            retries=event.retries,
        )
