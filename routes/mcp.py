"""GET and POST /v1/mcp/servers, POST /v1/mcp/connect and /disconnect, GET /v1/mcp/stats: the operator's."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request

from guard.caller import caller_of
from routes import body
from routes.openapi import json_body
from routes.state import shared
from toolbox.connection import Offer
from toolbox.servers import McpServers, as_named
from translate.cli_tools import NOT_ALLOWED
from turns.errors import NotOperator, ToolsNotAllowed
from wire import mcp as wire

router = APIRouter(prefix="/v1/mcp", tags=["mcp"])


@router.get("/servers")
async def list_servers(request: Request) -> wire.McpServerList:
    """The MCP servers that are named, and which of them are connected."""
    servers = _infos(_operated(request))
    return wire.McpServerList(servers=servers, total=len(servers))


@router.post("/servers", openapi_extra=json_body(wire.McpServerIn))
async def register_server(request: Request) -> wire.McpDone:
    """Name a server. It runs a command on this machine once it is connected."""
    servers = _operated(request)
    if not shared(request).allowance.mcp:
        raise ToolsNotAllowed(
            "MCP servers can't be registered over the API here: the operator can allow it with "
            "CLAUDE_ALLOW_MCP, or name them in a file with CLAUDE_MCP_CONFIG."
        )
    wanted = await body.parsed(request, wire.McpServerIn)
    servers.register(as_named(wanted.model_dump()))
    return wire.McpDone(message=f"MCP server '{wanted.name}' registered successfully")


@router.post("/connect", openapi_extra=json_body(wire.McpServerName))
async def connect(request: Request) -> wire.McpConnected:
    """Connect to a server, and offer it to turns with tools from now on."""
    servers = _operated(request)
    name = (await body.parsed(request, wire.McpServerName)).server_name
    offer = await servers.connect(name)
    return wire.McpConnected(
        message=f"Connected to MCP server '{name}'",
        tools=offer.tools,
        resources=offer.resources,
        prompts=offer.prompts,
    )


@router.post("/disconnect", openapi_extra=json_body(wire.McpServerName))
async def disconnect(request: Request) -> wire.McpDone:
    """Offer a server no more."""
    servers = _operated(request)
    name = (await body.parsed(request, wire.McpServerName)).server_name
    servers.disconnect(name)
    return wire.McpDone(message=f"Disconnected from MCP server '{name}'")


@router.get("/stats")
async def stats(request: Request) -> wire.McpStats:
    """How many servers there are, and what they have."""
    servers = _infos(_operated(request))
    return wire.McpStats(
        mcp_available=True,
        registered_servers=len(servers),
        connected_servers=sum(server.connected for server in servers),
        total_tools=sum(server.tools_count for server in servers),
        total_resources=sum(server.resources_count for server in servers),
        total_prompts=sum(server.prompts_count for server in servers),
        servers=servers,
    )


def _operated(request: Request) -> McpServers:
    if not shared(request).allowance.names:
        raise ToolsNotAllowed(NOT_ALLOWED)
    if not caller_of(request.scope).operator:
        raise NotOperator(
            "MCP servers are the operator's: use API_KEY, or a key that was made with 'keys add NAME "
            "--operator'."
        )
    return shared(request).mcp


def _infos(servers: McpServers) -> list[wire.McpServerInfo]:
    found = []
    for server in servers.all():
        named, offer = server.named, server.offer or Offer()
        found.append(
            wire.McpServerInfo(
                name=named.name,
                command=named.command,
                args=list(named.args),
                description=named.description,
                enabled=named.enabled,
                connected=server.offer is not None,
                tools_count=offer.tools,
                resources_count=offer.resources,
                prompts_count=offer.prompts,
                url=named.url,
            )
        )
    return found
