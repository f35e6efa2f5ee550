"""GET and POST /v1/mcp/servers, POST /v1/mcp/connect and /disconnect, GET /v1/mcp/stats: the operator's."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request

from claude_server.core.errors import NotOperator, ToolsNotAllowed
from claude_server.http import body
from claude_server.http.admin.wire import mcp as wire
from claude_server.http.guard.caller import caller_of
from claude_server.http.openapi import json_body
from claude_server.http.state import app_context
from claude_server.http.tool_requests import NOT_ALLOWED
from claude_server.toolbox.connection import McpInventory
from claude_server.toolbox.servers import McpServers, parse_config

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
    if not app_context(request).tool_policy.mcp:
        raise ToolsNotAllowed(
            "MCP servers can't be registered over the API here: the operator can allow it with "
            "CLAUDE_ALLOW_MCP, or name them in a file with CLAUDE_MCP_CONFIG."
        )
    wanted = await body.parse_body(request, wire.McpServerIn)
    servers.register(parse_config(wanted.model_dump()))
    return wire.McpDone(message=f"MCP server '{wanted.name}' registered successfully")


@router.post("/connect", openapi_extra=json_body(wire.McpServerName))
async def connect(request: Request) -> wire.McpConnected:
    """Connect to a server, and offer it to turns with tools from now on."""
    servers = _operated(request)
    name = (await body.parse_body(request, wire.McpServerName)).server_name
    inventory = await servers.connect(name)
    return wire.McpConnected(
        message=f"Connected to MCP server '{name}'",
        tools=inventory.tools,
        resources=inventory.resources,
        prompts=inventory.prompts,
    )


@router.post("/disconnect", openapi_extra=json_body(wire.McpServerName))
async def disconnect(request: Request) -> wire.McpDone:
    """Offer a server no more."""
    servers = _operated(request)
    name = (await body.parse_body(request, wire.McpServerName)).server_name
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
    if not app_context(request).tool_policy.names:
        raise ToolsNotAllowed(NOT_ALLOWED)
    if not caller_of(request.scope).operator:
        raise NotOperator(
            "MCP servers are the operator's: use API_KEY, or a key that was made with 'keys add NAME "
            "--operator'."
        )
    return app_context(request).mcp


def _infos(servers: McpServers) -> list[wire.McpServerInfo]:
    found = []
    for server in servers.all():
        config, inventory = server.config, server.inventory or McpInventory()
        found.append(
            wire.McpServerInfo(
                name=config.name,
                command=config.command,
                args=list(config.args),
                description=config.description,
                enabled=config.enabled,
                connected=server.inventory is not None,
                tools_count=inventory.tools,
                resources_count=inventory.resources,
                prompts_count=inventory.prompts,
                url=config.url,
            )
        )
    return found
