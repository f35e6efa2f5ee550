"""Answers in the background, over HTTP: taken at once, and followed as long as a client likes."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Iterator, MutableMapping
from dataclasses import replace

import anyio
from starlette.requests import Request
from starlette.responses import Response

from claude_server.core.entry import Entry
from claude_server.core.errors import StateFailed
from claude_server.core.ports import StoreError
from claude_server.core.responses import NotKept
from claude_server.dialects.base import Failure, Lasting, Prepared, ServerEvent
from claude_server.http import sse
from claude_server.http.state import app_context
from claude_server.jobs.background import ABANDONED

UNDER_WAY = ("queued", "in_progress")
# Seconds between two looks at a response that another server makes.
_LOOK = 1.0
_GONE = {"code": "server_error", "message": "The server was stopped while the response was made. Ask again."}


class _Follower:
    """Of events that are made already. A stream that is cut just ends: it can be followed again from where it
    was."""

    def failed(self, failure: Failure) -> Iterator[ServerEvent]:
        return iter(())

    def ping(self) -> None:
        return None


async def taken(
    request: Request, prepared: Prepared, lasting: Lasting, headers: MutableMapping[str, str], *, stream: bool
) -> Response:
    """Take a job, and answer with it as it stands, or follow it. Raises TurnError."""
    try:
        job = await app_context(request).jobs.start(prepared, lasting)
    except (StoreError, NotKept) as error:
        why = f"The response can't be kept, so it isn't made in the background: {error}."
        raise StateFailed(why) from error
    if stream:
        return _streamed(request, _encoded(job.follow()), headers)
    return Response(lasting.now(), 200, dict(headers), "application/json")


def _streamed(
    request: Request, events: AsyncGenerator[bytes, None], headers: MutableMapping[str, str]
) -> Response:
    drain = app_context(request).runner.drain
    return sse.EventStream(events, _Follower(), headers, sse.StreamTimings(), drain)


async def _encoded(events: AsyncGenerator[ServerEvent, None]) -> AsyncGenerator[bytes, None]:
    try:
        async for event in events:
            yield sse.encoded((event,))
    finally:
        await events.aclose()


def status_of(entry: Entry) -> str:
    return str(json.loads(entry.body)["status"])


async def seen(request: Request, entry: Entry) -> Entry:
    """A response, which has failed if the server that made it is gone. Raises StoreError."""
    context = app_context(request)
    if status_of(entry) not in UNDER_WAY or context.jobs.running(entry.owner, entry.id) is not None:
        return entry
    if time.time() - entry.used_at < ABANDONED:
        return entry
    failed = replace(entry, body=json.dumps({**json.loads(entry.body), "status": "failed", "error": _GONE}))
    await context.kept.save(failed)
    return failed


def follow(request: Request, entry: Entry, after: int | None) -> Response:
    """The events of a response with numbers above `after`, as they are made, or as they were."""
    return _streamed(request, _encoded(_numbered(_events(request, entry), after)), {})


async def _numbered(
    events: AsyncGenerator[ServerEvent, None], after: int | None
) -> AsyncGenerator[ServerEvent, None]:
    first = 0 if after is None else after + 1
    try:
        async for event in events:
            # The mark at the end has no number.
            if event.name is None or json.loads(event.data)["sequence_number"] >= first:
                yield event
    finally:
        await events.aclose()


async def _events(request: Request, entry: Entry) -> AsyncGenerator[ServerEvent, None]:
    context = app_context(request)
    job = context.jobs.running(entry.owner, entry.id)
    if job is not None:
        async for event in job.follow():
            yield event
        return
    while status_of(entry) in UNDER_WAY:
        # Another server makes it.
        await anyio.sleep(_LOOK)
        found = await context.kept.load(entry.owner, entry.id)
        if found is None:
            return
        entry = await seen(request, found)
    events = await context.jobs.events(entry)
    for event in events or _told_at_the_end(entry):
        yield event


def _told_at_the_end(entry: Entry) -> list[ServerEvent]:
    """For a response without events: one that was not made in the background, or whose server is gone."""
    status = status_of(entry)
    body = {**json.loads(entry.body), "output": json.loads(entry.output)}
    kind = f"response.{'failed' if status == 'cancelled' else status}"
    data = json.dumps({"type": kind, "sequence_number": 0, "response": body})
    return [ServerEvent(data.encode(), kind), ServerEvent(b"[DONE]")]
