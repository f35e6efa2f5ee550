"""GET and POST /v1/mcp/servers, POST /v1/mcp/connect and /disconnect, GET /v1/mcp/stats."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, StrictBool, StrictStr

_Map = dict[StrictStr, StrictStr]


class McpServerIn(BaseModel):
    """A server to register: a `command` that speaks MCP on standard input and output, or a `url`, `type` http
    (the default) or sse."""

    name: StrictStr
    command: StrictStr = ""
    args: Annotated[list[StrictStr], Field(fail_fast=True)] = []
    env: _Map = {}
    description: StrictStr = ""
    enabled: StrictBool = True
    type: StrictStr | None = None
    url: StrictStr = ""
    headers: _Map = {}


class McpServerName(BaseModel):
    server_name: Annotated[StrictStr, Field(min_length=1, max_length=256)]


class McpServerInfo(BaseModel):
    """`connected`: it answered, and turns with tools get it. Counts are from then; env and headers are never
    shown."""

    name: str
    command: str
    args: list[str]
    description: str
    enabled: bool
    connected: bool
    tools_count: int
    resources_count: int
    prompts_count: int
    url: str = ""


class McpServerList(BaseModel):
    servers: list[McpServerInfo]
    total: int


class McpDone(BaseModel):
    message: str


class McpConnected(BaseModel):
    message: str
    tools: int
    resources: int
    prompts: int


class McpStats(BaseModel):
    mcp_available: bool
    registered_servers: int
    connected_servers: int
    total_tools: int
    total_resources: int
    total_prompts: int
    servers: list[McpServerInfo]
