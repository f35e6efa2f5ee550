"""GET /v1/tools, GET and POST /v1/tools/config, GET /v1/tools/stats; and the tools of a chat."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request

from guard.caller import caller_of
from routes import body
from routes.openapi import json_body
from routes.state import shared
from translate import cli_tools as translate
from translate.times import iso
from turns.errors import ToolsNotAllowed
from turns.model import CliTools
from wire import cli_tools as wire

router = APIRouter(tags=["tools"])


@router.get("/v1/tools")
async def list_tools(request: Request) -> wire.ToolList:
    """The CLI's own tools that requests with enable_tools may use."""
    _allowed(request)
    return _listing(request)


@router.get("/v1/tools/config")
async def get_config(request: Request, session_id: str | None = None) -> wire.ToolConfig:
    """What the key's requests get, or those of one of its sessions."""
    _allowed(request)
    return _config(request, session_id)


@router.post("/v1/tools/config", openapi_extra=json_body(wire.ToolConfigUpdate))
async def set_config(request: Request) -> wire.ToolConfig:
    """Choose, for the key or for one of its sessions."""
    _allowed(request)
    wanted = await body.parsed(request, wire.ToolConfigUpdate)
    selection = _selection(request)
    if wanted.allowed_tools is not None:
        selection.check(wanted.allowed_tools, "allowed_tools")
    if wanted.disallowed_tools is not None:
        selection.check_names(wanted.disallowed_tools, "disallowed_tools")
    shared(request).tool_choices.choose(
        caller_of(request.scope).id,
        wanted.session_id,
        None if wanted.allowed_tools is None else tuple(wanted.allowed_tools),
        None if wanted.disallowed_tools is None else tuple(wanted.disallowed_tools),
    )
    return _config(request, wanted.session_id)


@router.get("/v1/tools/stats")
async def tool_stats(request: Request) -> wire.ToolStats:
    """How many tools there are, and what the key chose of them."""
    _allowed(request)
    tools = _listing(request).tools
    config = _config(request, None)
    return wire.ToolStats(
        total_tools=len(tools),
        global_allowed=len(config.effective_tools),
        global_disallowed=len(config.disallowed_tools),
        session_configs=shared(request).tool_choices.sessions(caller_of(request.scope).id),
        tool_categories=translate.categories(tools),
    )


def tools_of_turn(request: Request, asked: translate.Asked, session_id: str | None) -> CliTools:
    """The tools of a chat with enable_tools. Raises TurnError."""
    _allowed(request)
    return _selection(request).tools(asked, _choices(request, session_id))


def _allowed(request: Request) -> None:
    if not shared(request).allowance.names:
        raise ToolsNotAllowed(translate.NOT_ALLOWED, param="enable_tools")


def _listing(request: Request) -> wire.ToolList:
    parts = shared(request)
    return translate.listing(parts.backend.state.tools, parts.allowance)


def _selection(request: Request) -> translate.Selection:
    parts = shared(request)
    return translate.Selection(parts.backend.state.tools, parts.mcp.connected(), parts.allowance)


def _choices(request: Request, session_id: str | None) -> list[translate.Choice]:
    """What was chosen for the session, then for the key."""
    store, owner = shared(request).tool_choices, caller_of(request.scope).id
    places = [None] if session_id is None else [session_id, None]
    found = [store.of(owner, place) for place in places]
    return [translate.Choice(kept.allowed, kept.denied) for kept in found if kept is not None]


def _config(request: Request, session_id: str | None) -> wire.ToolConfig:
    parts = shared(request)
    kept = parts.tool_choices.of(caller_of(request.scope).id, session_id)
    selection = _selection(request)
    choices = _choices(request, session_id)
    effective, denied = selection.effective(choices)
    wanted = next((choice.allowed for choice in choices if choice.allowed is not None), None)
    began = parts.started_at
    return wire.ToolConfig(
        allowed_tools=list(selection.effective([])[0] if wanted is None else wanted),
        disallowed_tools=list(denied),
        effective_tools=list(effective),
        created_at=iso(kept.created_at if kept else began),
        updated_at=iso(kept.updated_at if kept else began),
    )
