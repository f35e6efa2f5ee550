"""What the routes need of the application."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from starlette.requests import Request

from turns.keeper import Keeper
from turns.model import Backend
from turns.runner import Runner


@dataclass(frozen=True, slots=True)
class Shared:
    """Set once, on `app.state.shared`. `started_at`: epoch seconds."""

    runner: Runner
    keeper: Keeper
    backend: Backend
    default_model: str | None
    stream_mode: str
    chunk_chars: int
    service: str
    version: str
    started_at: int
    max_request_size: int
    first_event_hold: float = 10.0
    body_within: float = 15.0
    send_within: float = 60.0
    ping_interval: float = 15.0


def shared(request: Request) -> Shared:
    """The application's parts."""
    return cast(Shared, request.app.state.shared)
