"""GET /v1/tools, GET and POST /v1/tools/config, GET /v1/tools/stats; and the tools of a chat."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request

from claude_server.core.cli_tools import CliTools
from claude_server.core.errors import ToolsNotAllowed
from claude_server.http import body
from claude_server.http import tool_requests as translate
from claude_server.http.admin.times import iso
from claude_server.http.admin.wire import cli_tools as wire
from claude_server.http.guard.caller import caller_of
from claude_server.http.openapi import json_body
from claude_server.http.state import app_context

router = APIRouter(tags=["tools"])


@router.get("/v1/tools")
async def list_tools(request: Request) -> wire.ToolList:
    """The CLI's own tools that requests with enable_tools may use."""
    _require_allowed(request)
    return _listing(request)


@router.get("/v1/tools/config")
async def get_config(request: Request, session_id: str | None = None) -> wire.ToolConfig:
    """What the key's requests get, or those of one of its sessions."""
    _require_allowed(request)
    return _config(request, session_id)


@router.post("/v1/tools/config", openapi_extra=json_body(wire.ToolConfigUpdate))
async def set_config(request: Request) -> wire.ToolConfig:
    """Choose, for the key or for one of its sessions."""
    _require_allowed(request)
    wanted = await body.parse_body(request, wire.ToolConfigUpdate)
    resolver = _tool_resolver(request)
    if wanted.allowed_tools is not None:
        resolver.check(wanted.allowed_tools, "allowed_tools")
    if wanted.disallowed_tools is not None:
        resolver.check_names(wanted.disallowed_tools, "disallowed_tools")
    app_context(request).tool_configs.update(
        caller_of(request.scope).id,
        wanted.session_id,
        None if wanted.allowed_tools is None else tuple(wanted.allowed_tools),
        None if wanted.disallowed_tools is None else tuple(wanted.disallowed_tools),
    )
    return _config(request, wanted.session_id)


@router.get("/v1/tools/stats")
async def tool_stats(request: Request) -> wire.ToolStats:
    """How many tools there are, and what the key chose of them."""
    _require_allowed(request)
    tools = _listing(request).tools
    config = _config(request, None)
    return wire.ToolStats(
        total_tools=len(tools),
        global_allowed=len(config.effective_tools),
        global_disallowed=len(config.disallowed_tools),
        session_configs=app_context(request).tool_configs.sessions(caller_of(request.scope).id),
        tool_categories=translate.categories(tools),
    )


def resolve_tools(request: Request, headers: translate.ToolHeaders, session_id: str | None) -> CliTools:
    """The tools of a chat with enable_tools. Raises TurnError."""
    _require_allowed(request)
    return _tool_resolver(request).tools(headers, _tool_rules(request, session_id))


def _require_allowed(request: Request) -> None:
    if not app_context(request).tool_policy.names:
        raise ToolsNotAllowed(translate.NOT_ALLOWED, param="enable_tools")


def _listing(request: Request) -> wire.ToolList:
    context = app_context(request)
    return translate.listing(context.backend.state.tools, context.tool_policy)


def _tool_resolver(request: Request) -> translate.ToolResolver:
    context = app_context(request)
    return translate.ToolResolver(context.backend.state.tools, context.mcp.connected(), context.tool_policy)


def _tool_rules(request: Request, session_id: str | None) -> list[translate.ToolRules]:
    """What was chosen for the session, then for the key."""
    store, owner = app_context(request).tool_configs, caller_of(request.scope).id
    places = [None] if session_id is None else [session_id, None]
    found = [store.get(owner, place) for place in places]
    return [translate.ToolRules(kept.allowed, kept.denied) for kept in found if kept is not None]


def _config(request: Request, session_id: str | None) -> wire.ToolConfig:
    context = app_context(request)
    kept = context.tool_configs.get(caller_of(request.scope).id, session_id)
    resolver = _tool_resolver(request)
    choices = _tool_rules(request, session_id)
    effective, denied = resolver.effective(choices)
    wanted = next((choice.allowed for choice in choices if choice.allowed is not None), None)
    began = context.service.started_at
    return wire.ToolConfig(
        allowed_tools=list(resolver.effective([])[0] if wanted is None else wanted),
        disallowed_tools=list(denied),
        effective_tools=list(effective),
        created_at=iso(kept.created_at if kept else began),
        updated_at=iso(kept.updated_at if kept else began),
    )
