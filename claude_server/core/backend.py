"""The engine as the core uses it: the protocols that it implements, and what it tells of itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from claude_server.core.cli_tools import CliTool
from claude_server.core.errors import TurnError
from claude_server.core.model import AttemptRequest, ModelInfo, TurnEvent, TurnRequest


class Attempt(Protocol):
    """A running attempt. Iterating gives TurnEvents up to TurnDone, or raises a TurnError."""

    def __aiter__(self) -> AsyncIterator[TurnEvent]: ...

    def fail(self, error: TurnError) -> None:
        """Make the iteration raise `error` (a deadline); callable from the loop's callbacks."""

    def progressed_at(self) -> float:
        """When it last came nearer to its first event, in the event loop's time."""

    def close(self) -> None:
        """Release the worker, now and without awaiting: kept if the turn is done, killed otherwise."""


@dataclass(frozen=True, slots=True)
class EngineState:
    """The engine's state for /health, and the CLI's own tools where they are allowed. Holds no secret.

    `problem`: why no turn can succeed. `account_problem`: what turns have lately met of the account's plan,
    its billing and its limits, though others may succeed.
    """

    ready: bool
    level: str
    cli_version: str | None = None
    logged_in: bool | None = None
    login_method: str | None = None
    problem: str | None = None
    account_problem: str | None = None
    processes: int = 0
    abilities: Mapping[str, bool] = field(default_factory=dict)
    workers: Mapping[str, int] = field(default_factory=dict)
    tools: tuple[CliTool, ...] = ()


class Backend(Protocol):
    """The engine, as the core uses it."""

    async def start(self) -> None:
        """Find out what the CLI can do. Doesn't raise: a CLI that can't serve shows in `state`."""

    def probe_if_due(self) -> None:
        """Start a new probe of the CLI if no turn can succeed and its backoff is over. Doesn't wait."""

    async def close(self) -> None:
        """End every process; returns when none is left."""

    async def recheck_login(self) -> None:
        """Ask the CLI again if it was not logged in; `state` tells. Spends no tokens, raises nothing."""

    def open(self, request: AttemptRequest) -> Attempt:
        """Begin an attempt. Never raises: errors come out of the iteration."""

    async def count_tokens(self, turn: TurnRequest) -> int:
        """The tokens of a turn's prompt, as the API counts them. Spends none. Raises TurnError."""

    def has_transcript(self, session_uuid: str, mark: str = "", *, tools: bool = False) -> bool:
        """Is there a conversation of the CLI under this UUID, with the event `mark` in it?
        `tools`: one that has tools of its own."""

    def kept_sessions(self) -> frozenset[str]:
        """The UUIDs of the sessions that have an idle process."""

    def end_session(self, session_uuid: str) -> None:
        """End a session's idle process, now and without awaiting; one that serves a turn goes on."""

    async def erase(self, session_uuid: str) -> bool:
        """End a session's process and remove all that the CLI keeps of the conversation. No turn runs in it.
        Was there anything to remove? Raises StateFailed."""

    @property
    def state(self) -> EngineState: ...

    @property
    def models(self) -> tuple[ModelInfo, ...]: ...
