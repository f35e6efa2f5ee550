"""The application context: what routes need, built once at the start."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import cast

from starlette.requests import Request

from claude_server.core.model import Backend
from claude_server.core.reaper import SessionReaper
from claude_server.core.responses import KeptResponses
from claude_server.core.runner import Runner
from claude_server.dialects.base import Policy
from claude_server.http.guard.ring import KeyRing
from claude_server.http.images import ImageFetcher
from claude_server.http.tool_requests import ToolPolicy
from claude_server.toolbox.servers import McpServers
from claude_server.toolbox.tool_configs import ToolConfigStore


@dataclass(frozen=True, slots=True)
class LoginFacts:
    """How the CLI logs in, as configured. `method`: claude_cli, anthropic, bedrock or vertex;
    `chosen_by`: what decided, "" if nothing did; `missing`: a sentence each; `variables`: names only."""

    method: str
    chosen_by: str
    missing: tuple[str, ...]
    variables: tuple[str, ...]


@dataclass(slots=True)
class Desk:
    """Where large bodies are read, one at a time. `room`: how many may wait with that one."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    room: int = 16


@dataclass(frozen=True, slots=True)
class AppContext:
    """Set once, as `app.state.context`. `started_at`: epoch seconds. `images` None: images at remote URLs are
    not fetched. Durations are in seconds, sizes in bytes."""

    runner: Runner
    kept: KeptResponses
    reaper: SessionReaper
    tool_configs: ToolConfigStore
    mcp: McpServers
    backend: Backend
    policy: Policy
    ring: KeyRing
    login: LoginFacts
    service: str
    version: str
    started_at: int
    max_request_size: int
    debug: bool = False
    first_event_hold: float = 10.0
    body_within: float = 15.0
    send_within: float = 60.0
    ping_interval: float = 15.0
    images: ImageFetcher | None = None
    tool_policy: ToolPolicy = field(default_factory=ToolPolicy)
    desk: Desk = field(default_factory=Desk)

    @property
    def default_model(self) -> str | None:
        """The model for requests that name none."""
        return self.policy.default_model


def app_context(request: Request) -> AppContext:
    """The context of the application that serves this request."""
    return cast(AppContext, request.app.state.context)
