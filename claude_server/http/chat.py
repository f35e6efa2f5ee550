"""POST /v1/chat/completions."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from claude_server.core.errors import TurnError
from claude_server.core.model import TurnEvent, TurnRequest, TurnStarted
from claude_server.dialects.chat.answer import AnswerContext, ChunkWriter, completion
from claude_server.dialects.chat.messages import remote_images
from claude_server.dialects.chat.request import check_length, to_turn
from claude_server.dialects.chat.wire import ChatCompletion, ChatRequest
from claude_server.http import body, sse
from claude_server.http import tool_requests as cli_tools
from claude_server.http.access import authorize
from claude_server.http.admin.cli_tools import resolve_tools
from claude_server.http.choices import merge_runs
from claude_server.http.connection import while_connected
from claude_server.http.openapi import json_body
from claude_server.http.state import AppContext, app_context
from claude_server.telemetry.requests import annotate

router = APIRouter()
# Longest model name that is logged.
_MAX_LOGGED_CHARS = 100
_USER_FIELDS = ("user", "safety_identifier", "prompt_cache_key")


@router.post(
    "/v1/chat/completions", response_model=ChatCompletion, openapi_extra=json_body(ChatRequest), tags=["chat"]
)
async def create(request: Request) -> Response:
    """Answer a chat. With `stream` the answer comes as server-sent events."""
    context = app_context(request)
    chat_request = await body.parse_body(request, ChatRequest)
    # Before all else that its content costs.
    owner = authorize(request, chat_request.model)
    check_length(chat_request)
    fetched = (
        await context.images.fetch(remote_images(chat_request.messages)) if context.images is not None else {}
    )
    tool_headers = cli_tools.parse_headers(request.headers)
    tools = (
        resolve_tools(request, tool_headers, chat_request.session_id) if chat_request.enable_tools else None
    )
    turn_id = f"chatcmpl-{uuid.uuid4().hex}"
    turn, ignored = await body.beside(
        request, lambda: to_turn(chat_request, turn_id, context.policy, fetched, tools)
    )
    turn = replace(turn, owner=owner)
    if tools is None:
        # Headers about tools have no effect on a turn without tools.
        ignored += tool_headers.given
    annotate(
        request.scope,
        # As the client sent it, so of any length.
        model=(chat_request.model or "default")[:_MAX_LOGGED_CHARS],
        stream=bool(chat_request.stream),
        session=turn.session_id is not None,
        **_user_hashes(chat_request),
    )
    headers = {"x-ignored-params": ", ".join(ignored)} if ignored else {}
    answer_context = _answer_context(chat_request, turn, context)
    events = merge_runs([context.runner.run(turn) for _ in range(answer_context.choices)])
    if chat_request.stream:
        writer = ChunkWriter(
            answer_context,
            include_usage=bool(chat_request.stream_options and chat_request.stream_options.include_usage),
            slice_chars=context.chunk_chars if turn.buffered else None,
        )
        data = _stream(request, events, writer, headers)
        times = sse.StreamTimings(context.first_event_hold, context.ping_interval, context.send_within)
        return sse.EventStream(data, headers, times, context.runner.drain)
    answers = await _collect(request, events, answer_context.choices)
    if answers is None:
        return Response(status_code=499)
    headers |= _session_header(answers[0][0])
    answer = completion(answers, answer_context, chat_request.metadata)
    return Response(answer.model_dump_json(), 200, headers, "application/json")


def _answer_context(chat_request: ChatRequest, turn: TurnRequest, context: AppContext) -> AnswerContext:
    return AnswerContext(
        turn.id,
        chat_request.model or "default",
        int(time.time()),
        session_id=turn.session_id,
        reasoning=context.reasoning_field,
        functions=not chat_request.tools and bool(chat_request.functions),
        structured=turn.answer is not None,
        choices=chat_request.n or 1,
        shows_tools=context.shows_tools,
    )


def _user_hashes(chat_request: ChatRequest) -> dict[str, str]:
    """Hashes of the fields that identify a client's user, for the log."""
    given = {name: getattr(chat_request, name) for name in _USER_FIELDS}
    return {
        name: hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
        for name, value in given.items()
        if value is not None
    }


async def _collect(
    request: Request, events: AsyncGenerator[tuple[int, TurnEvent], None], choices: int
) -> list[list[TurnEvent]] | None:
    """Collect the events of each choice; None if the client disconnected first."""
    answers: list[list[TurnEvent]] = [[] for _ in range(choices)]
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


async def _stream(
    request: Request,
    events: AsyncGenerator[tuple[int, TurnEvent], None],
    writer: ChunkWriter,
    headers: dict[str, str],
) -> AsyncGenerator[bytes, None]:
    """The choices as SSE data; fills `headers` before the first event."""
    # Effectively synchronous: the runner's cleanup awaits nothing.
    async with aclosing(events):
        async for index, event in events:
            headers |= _session_header(event)
            data = b"".join(sse.event(writer.encode(chunk)) for chunk in writer.chunks(index, event))
            if data:
                yield data
        yield sse.DONE


def _session_header(event: TurnEvent) -> dict[str, str]:
    if isinstance(event, TurnStarted) and event.session is not None:
        return {"x-claude-session": event.session}
    return {}
