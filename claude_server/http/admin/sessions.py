"""GET /v1/sessions, /v1/sessions/stats, and GET and DELETE /v1/sessions/{id}."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.requests import Request

from claude_server.core.errors import SessionNotFound
from claude_server.core.ports import SessionRecord, SessionSummary
from claude_server.core.reaper import SessionReaper
from claude_server.core.sessions import LONGEST_PAGE, Sessions
from claude_server.dialects.x_claude import dollars
from claude_server.http.admin.times import iso
from claude_server.http.admin.wire import sessions as wire
from claude_server.http.guard.caller import caller_of
from claude_server.http.state import app_context

# What SQLite takes for a number.
_MAX_OFFSET = 2**63 - 1


class _Text(PathConvertor):
    """As starlette's "path", and with line breaks: a session may be called anything."""

    regex = "(?s:.*)"


register_url_convertor("text", _Text())


def build_router(reaper: SessionReaper) -> APIRouter:
    """The routes; `reaper` ends what is deleted."""
    router = APIRouter(tags=["sessions"])
    router.add_api_route("/v1/sessions", list_sessions)

    # Before the route with an id. A session that is called "stats" can be used and deleted, not looked at.
    @router.get("/v1/sessions/stats")
    async def session_stats(request: Request) -> wire.SessionStats:
        """How many sessions the caller has, and when they end."""
        registry = app_context(request).runner.sessions
        counts = await registry.counts(caller_of(request.scope).id)
        return wire.SessionStats(
            session_stats=wire.SessionCounts(
                active_sessions=counts.active,
                expired_sessions=counts.expired,
                total_messages=counts.messages,
            ),
            cleanup_interval_minutes=_number(reaper.interval / 60),
            default_ttl_hours=_number(registry.ttl / 3600),
        )

    router.add_api_route("/v1/sessions/{session_id:text}", get_session)

    @router.delete("/v1/sessions/{session_id:text}")
    async def delete_session(request: Request, session_id: str) -> wire.SessionDeleted:
        """End a session and erase its conversation, also if it has expired."""
        await reaper.delete(caller_of(request.scope).id, session_id)
        return wire.SessionDeleted(message=f"Session {session_id} deleted successfully")

    return router


async def list_sessions(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=LONGEST_PAGE)] = LONGEST_PAGE,
    offset: Annotated[int, Query(ge=0, le=_MAX_OFFSET)] = 0,
) -> wire.SessionList:
    """A page of the caller's sessions that haven't expired; `total` counts them all."""
    registry = app_context(request).runner.sessions
    owner = caller_of(request.scope).id
    page = await registry.active(owner, limit, offset)
    counts = await registry.counts(owner)
    return wire.SessionList(sessions=[_info(registry, found) for found in page], total=counts.active)


async def get_session(request: Request, session_id: str) -> wire.SessionInfo:
    """One session; to look at it renews its expiry."""
    registry = app_context(request).runner.sessions
    record = await registry.renew(caller_of(request.scope).id, session_id)
    if record is None:
        raise SessionNotFound("Session not found")
    return _info(registry, record)


def _info(registry: Sessions, record: SessionRecord | SessionSummary) -> wire.SessionInfo:
    return wire.SessionInfo(
        session_id=record.session_id,
        created_at=iso(record.created_at),
        last_accessed=iso(record.last_used),
        message_count=record.messages,
        expires_at=iso(registry.expires_at(record)),
        turns=record.turns,
        cost_usd=None if record.cost_usd is None else dollars(record.cost_usd),
    )


def _number(value: float) -> int | float:
    """Without a fraction of nothing, which a client that expects whole numbers can't read."""
    return int(value) if value.is_integer() else value
