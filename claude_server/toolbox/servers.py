"""The MCP servers that the operator named: in a file, or over the API."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from claude_server.core.cli_tools import McpServer
from claude_server.core.errors import InvalidRequest, ServerFailed, StateFailed, TurnError, UnknownServer
from claude_server.toolbox.connection import McpInventory, probe
from claude_server.toolbox.files import RecordFile

log = structlog.get_logger("toolbox")

# "__" parts a server's name from its tools'.
_NAME = re.compile(r"(?!.*__)[A-Za-z0-9_-]{1,64}")
_Text = Annotated[str, Field(max_length=8192, pattern=r"^[^\x00]*$")]


class McpServerConfig(BaseModel):
    """A server as the operator names it; also the shape of one in a file of MCP servers, with its name added.

    It has a `command`, or a `url` (type http, or sse).
    """

    model_config = ConfigDict(frozen=True)

    name: str
    command: _Text = ""
    args: tuple[_Text, ...] = ()
    env: dict[str, _Text] = Field(default_factory=dict, repr=False)
    type: Literal["stdio", "http", "sse"] | None = None
    url: _Text = ""
    headers: dict[str, _Text] = Field(default_factory=dict, repr=False)
    description: _Text = ""
    enabled: bool = True

    @model_validator(mode="after")
    def _whole(self) -> McpServerConfig:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"'{self.name[:80]}' can't be a server's name: 1 to 64 letters, digits, - and single _"
            )
        if self._transport == "stdio" and not self.command.strip():
            raise ValueError(f"the server '{self.name}' needs a command")
        if self._transport != "stdio" and not self.url.startswith(("http://", "https://")):
            raise ValueError(f"the server '{self.name}' needs a command, or a url that begins with http")
        return self

    @property
    def _transport(self) -> Literal["stdio", "http", "sse"]:
        return self.type or ("stdio" if self.command.strip() else "http")

    def to_mcp_server(self) -> McpServer:
        """The server in the core's terms."""
        return McpServer(
            self.name,
            self.command,
            self.args,
            tuple(self.env.items()),
            self._transport,
            self.url,
            tuple(self.headers.items()),
        )


def parse_servers(text: bytes) -> tuple[McpServerConfig, ...]:
    """The servers of a file, {"mcpServers": {name: {...}}}. Raises ValueError with a sentence."""
    try:
        servers = json.loads(text)["mcpServers"]
        return tuple(McpServerConfig(name=name, **server) for name, server in servers.items())
    except ValidationError as error:
        raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError('it is not of the form {"mcpServers": {"NAME": {"command": "..."}}}') from None


class _StoredServers(BaseModel):
    """`connected`: names of servers that were connected, registered or of the file; `disconnected`: those of
    the file that were not to be."""

    version: Literal[1] = 1
    servers: tuple[McpServerConfig, ...] = ()
    connected: tuple[str, ...] = ()
    disconnected: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Server:
    """A server, and what it had when it was connected; None: it isn't."""

    config: McpServerConfig
    inventory: McpInventory | None


class McpServers:
    """`mcp.json` in the state folder. A server that is connected has answered; each turn with tools starts it
    anew for itself. `fixed`: those of the operator's file. Methods may raise StateFailed."""

    def __init__(self, folder: Path, environ: Mapping[str, str], fixed: Sequence[McpServerConfig]) -> None:
        self._file = RecordFile(folder / "mcp.json", _StoredServers())
        self._environ = environ
        self._fixed = {config.name: config for config in fixed}
        self._inventories: dict[str, tuple[McpServerConfig, McpInventory]] = {}

    def all(self) -> list[Server]:
        """Those of the file first."""
        registered = {config.name: config for config in self._file.load().servers}
        return [Server(config, self._inventory(config)) for config in {**registered, **self._fixed}.values()]

    def _inventory(self, config: McpServerConfig) -> McpInventory | None:
        known, inventory = self._inventories.get(config.name, (None, None))
        # Not what another server on this state folder has changed since.
        return inventory if known == config and config.enabled else None

    def connected(self) -> tuple[McpServer, ...]:
        """Those for turns with tools."""
        return tuple(server.config.to_mcp_server() for server in self.all() if server.inventory is not None)

    def register(self, config: McpServerConfig) -> None:
        """Add a server, or put it in the place of the one of its name. Raises InvalidRequest."""
        if config.name in self._fixed:
            raise InvalidRequest(
                f"The MCP server '{config.name}' is named in CLAUDE_MCP_CONFIG: change it there.",
                param="name",
            )
        kept = self._file.load()
        others = tuple(other for other in kept.servers if other.name != config.name)
        connected = tuple(name for name in kept.connected if name != config.name)
        self._inventories.pop(config.name, None)
        self._file.save(kept.model_copy(update={"servers": (*others, config), "connected": connected}))

    async def connect(self, name: str) -> McpInventory:
        """Raises UnknownServer, ServerFailed."""
        config = next((server.config for server in self.all() if server.config.name == name), None)
        if config is None:
            raise UnknownServer(f"There is no MCP server '{name[:80]}': GET /v1/mcp/servers lists them.")
        if not config.enabled:
            raise ServerFailed(f"The MCP server '{name}' is not enabled: register it with 'enabled': true.")
        self._inventories.pop(name, None)
        inventory = await probe(config.to_mcp_server(), self._environ)
        self._inventories[name] = (config, inventory)
        self._set_connected(name, connected=True)
        return inventory

    def disconnect(self, name: str) -> None:
        """Raises UnknownServer if it isn't connected."""
        if self._inventories.pop(name, None) is None:
            raise UnknownServer(f"The MCP server '{name[:80]}' is not connected.")
        self._set_connected(name, connected=False)

    def _set_connected(self, name: str, *, connected: bool) -> None:
        kept = self._file.load()
        lists = {"connected": set(kept.connected), "disconnected": set(kept.disconnected)}
        lists["connected" if connected else "disconnected"].add(name)
        lists["disconnected" if connected else "connected"].discard(name)
        self._file.save(kept.model_copy(update={key: tuple(sorted(names)) for key, names in lists.items()}))

    async def resume(self) -> None:
        """Connect what was connected before a restart, and the file's servers unless they were not to be.

        What can't be connected is logged: nobody waits for this.
        """
        try:
            kept = self._file.load()
        except StateFailed as error:
            log.warning("no MCP server is connected", problem=error.message)
            return
        wanted = {*self._fixed, *kept.connected} - set(kept.disconnected)
        names = [s.config.name for s in self.all() if s.config.name in wanted and s.config.enabled]
        await asyncio.gather(*(self._resume(name) for name in names))

    async def _resume(self, name: str) -> None:
        try:
            await self.connect(name)
        except TurnError as error:
            log.warning("an MCP server can't be connected", server=name, problem=error.message)


def parse_config(fields: Mapping[str, Any]) -> McpServerConfig:
    """A server from what a request says. Raises InvalidRequest."""
    try:
        return McpServerConfig.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        place = str(first["loc"][0]) if first["loc"] else "name"
        raise InvalidRequest(
            f"'{place}': {first['msg'].removeprefix('Value error, ')}.", param=place
        ) from None
