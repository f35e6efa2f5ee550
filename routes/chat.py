"""POST /v1/chat/completions."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from routes import body, sse
from routes.access import owned
from routes.choices import together
from routes.cli_tools import tools_of_turn
from routes.connection import while_connected
from routes.openapi import json_body
from routes.state import Shared, shared
from telemetry.requests import add, note
from translate import cli_tools
from translate.chat import to_turn
from translate.chat_answer import ChunkWriter, Head, completion
from translate.messages import remote_images
from turns.errors import TurnError
from turns.model import TurnDone, TurnEvent, TurnRequest, TurnStarted
from wire.chat import ChatCompletion, ChatRequest

router = APIRouter()
# Characters of a model's name.
_SHOWN = 100
_WHO = ("user", "safety_identifier", "prompt_cache_key")


@router.post(
    "/v1/chat/completions", response_model=ChatCompletion, openapi_extra=json_body(ChatRequest), tags=["chat"]
)
async def create(request: Request) -> Response:
    """Answer a chat. With `stream` the answer comes as server-sent events."""
    parts = shared(request)
    asked = await body.parsed(request, ChatRequest)
    fetched = await parts.images.fetch(remote_images(asked.messages)) if parts.images is not None else {}
    tool_headers = cli_tools.asked(request.headers)
    tools = tools_of_turn(request, tool_headers, asked.session_id) if asked.enable_tools else None
    turn, ignored = to_turn(asked, f"chatcmpl-{uuid.uuid4().hex}", parts.policy, fetched, tools)
    if tools is None:
        # They are about tools, and there are none.
        ignored += tool_headers.given
    turn = owned(request, turn, asked.model)
    note(
        request.scope,
        # As it was sent, and that may be anything.
        model=(asked.model or "default")[:_SHOWN],
        stream=bool(asked.stream),
        session=turn.session_id is not None,
        **_named_hashes(asked),
    )
    headers = {"x-ignored-params": ", ".join(ignored)} if ignored else {}
    head = _head(asked, turn, parts)
    events = together([parts.runner.run(turn) for _ in range(head.choices)])
    if asked.stream:
        writer = ChunkWriter(
            head,
            include_usage=bool(asked.stream_options and asked.stream_options.include_usage),
            slice_chars=parts.chunk_chars if turn.buffered else None,
        )
        data = _stream(request, events, writer, headers)
        times = sse.Times(parts.first_event_hold, parts.ping_interval, parts.send_within)
        return sse.EventStream(data, headers, times, parts.runner.drain)
    answers = await _collect(request, events, head.choices)
    if answers is None:
        return Response(status_code=499)
    headers |= _session_header(answers[0][0])
    answer = completion(answers, head, asked.metadata)
    return Response(answer.model_dump_json(), 200, headers, "application/json")


def _head(asked: ChatRequest, turn: TurnRequest, parts: Shared) -> Head:
    return Head(
        turn.id,
        asked.model or "default",
        int(time.time()),
        session_id=turn.session_id,
        reasoning=parts.reasoning_field,
        functions=not asked.tools and bool(asked.functions),
        structured=turn.answer is not None,
        choices=asked.n or 1,
        shows_tools=parts.shows_tools,
    )


def _named_hashes(asked: ChatRequest) -> dict[str, str]:
    """What tells a client's users apart, as it may be logged."""
    given = {name: (asked.model_extra or {}).get(name) for name in _WHO}
    return {
        name: hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
        for name, value in given.items()
        if value is not None
    }


async def _collect(
    request: Request, events: AsyncGenerator[tuple[int, TurnEvent], None], choices: int
) -> list[list[TurnEvent]] | None:
    """The events of each answer; None if the client hung up before all were there."""
    answers: list[list[TurnEvent]] = [[] for _ in range(choices)]
    failure: list[TurnError] = []

    async def work() -> None:
        try:
            async with aclosing(events):
                async for index, event in events:
                    answers[index].append(event)
                    _note_end(request, event)
        except TurnError as error:
            failure.append(error)

    if not await while_connected(request.receive, shared(request).runner.drain, work):
        note(request.scope, outcome="client_gone")
        return None
    if failure:
        raise failure[0]
    return answers


async def _stream(
    request: Request,
    events: AsyncGenerator[tuple[int, TurnEvent], None],
    writer: ChunkWriter,
    headers: dict[str, str],
) -> AsyncGenerator[bytes, None]:
    """The answers as SSE data; fills `headers` before its first."""
    # Synchronous as far as it goes: the runner's cleanup awaits nothing.
    async with aclosing(events):
        async for index, event in events:
            headers |= _session_header(event)
            data = b"".join(sse.event(writer.encode(chunk)) for chunk in writer.chunks(index, event))
            if data:
                yield data
            _note_end(request, event)
        yield sse.DONE


def _session_header(event: TurnEvent) -> dict[str, str]:
    if isinstance(event, TurnStarted) and event.session is not None:
        return {"x-claude-session": event.session}
    return {}


def _note_end(request: Request, event: TurnEvent) -> None:
    if isinstance(event, TurnDone):
        add(
            request.scope,
            prompt_tokens=event.usage.prompt_tokens,
            cached_tokens=event.usage.cache_read_tokens,
            completion_tokens=event.usage.output_tokens,
            retries=event.retries,
            cost_usd=event.cost_usd or 0.0,
        )
        note(request.scope, outcome="ok", answered_by=event.model)
