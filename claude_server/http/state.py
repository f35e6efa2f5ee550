"""The application context: what the routes share, built once at the start."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import cast

from starlette.requests import Request

from claude_server.core.backend import Backend
from claude_server.core.counting import TokenCounter
from claude_server.core.responses import KeptResponses
from claude_server.core.runner import Runner
from claude_server.dialects.base import Policy
from claude_server.http.guard.ring import KeyRing
from claude_server.http.images import ImageFetcher
from claude_server.http.tool_requests import ToolPolicy
from claude_server.jobs.background import BackgroundJobs
from claude_server.toolbox.servers import McpServers
from claude_server.toolbox.tool_configs import ToolConfigStore


@dataclass(frozen=True, slots=True)
class Service:
    """What runs here. `started_at`: epoch seconds."""

    name: str
    version: str
    started_at: int


@dataclass(slots=True)
class Desk:
    """Where large bodies are read, one at a time. `waiting`: how many wait, with that one."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class AppContext:
    """What several routers share. Set once, as `app.state.context`. `images` None: images at remote URLs are
    not fetched. `max_request_size`: bytes."""

    runner: Runner
    kept: KeptResponses
    jobs: BackgroundJobs
    counter: TokenCounter
    policy: Policy
    tool_policy: ToolPolicy
    tool_configs: ToolConfigStore
    mcp: McpServers
    ring: KeyRing
    service: Service
    max_request_size: int
    images: ImageFetcher | None = None
    desk: Desk = field(default_factory=Desk)

    @property
    def backend(self) -> Backend:
        """The engine that the runner asks."""
        return self.runner.backend


def app_context(request: Request) -> AppContext:
    """The context of the application that serves this request."""
    return cast(AppContext, request.app.state.context)
