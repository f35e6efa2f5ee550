"""What the routes need of the application."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from starlette.requests import Request

from guard.ring import KeyRing
from routes.images import ImageFetcher
from toolbox.choices import ToolChoices
from toolbox.servers import McpServers
from translate.chat import Policy
from translate.chat_answer import ReasoningField
from translate.cli_tools import Allowance
from turns.keeper import Keeper
from turns.model import Backend
from turns.runner import Runner


@dataclass(frozen=True, slots=True)
class LoginFacts:
    """How the CLI is to log in, as the settings say. `method`: claude_cli, anthropic, bedrock or vertex;
    `chosen_by`: what decided, "" if nothing did; `missing`: a sentence each; `variables`: names only."""

    method: str
    chosen_by: str
    missing: tuple[str, ...]
    variables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shared:
    """Set once, on `app.state.shared`. `started_at`: epoch seconds. `images` None: none are fetched."""

    runner: Runner
    keeper: Keeper
    tool_choices: ToolChoices
    mcp: McpServers
    backend: Backend
    policy: Policy
    ring: KeyRing
    login: LoginFacts
    chunk_chars: int
    service: str
    version: str
    started_at: int
    max_request_size: int
    debug: bool = False
    first_event_hold: float = 10.0
    body_within: float = 15.0
    send_within: float = 60.0
    ping_interval: float = 15.0
    reasoning_field: ReasoningField | None = "reasoning_content"
    images: ImageFetcher | None = None
    allowance: Allowance = field(default_factory=Allowance)
    shows_tools: bool = True

    @property
    def default_model(self) -> str | None:
        """The model for requests that leave the choice."""
        return self.policy.default_model


def shared(request: Request) -> Shared:
    """The application's parts."""
    return cast(Shared, request.app.state.shared)
