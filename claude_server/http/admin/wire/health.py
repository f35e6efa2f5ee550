"""GET /health, /livez and /readyz."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

ReadyStatus = Literal["ready", "unready", "draining"]


class Liveness(BaseModel):
    """The process answers: that is all."""

    status: Literal["alive"] = "alive"
    service: str


class Readiness(BaseModel):
    """`ready` comes with a 200, the others with a 503: no turn can succeed, or the server is going down."""

    status: ReadyStatus
    service: str


class CliHealth(BaseModel):
    """The CLI as found. `logged_in` null: it doesn't tell; `problem`: what to do about it; also
    what turns have lately met of the account's plan, billing and limits, though others may succeed."""

    version: str | None
    logged_in: bool | None
    login_method: str | None
    engine: str
    abilities: dict[str, bool]
    processes: int
    workers: dict[str, int]
    problem: str | None


class SlotHealth(BaseModel):
    capacity: int
    running: int


class QueueHealth(BaseModel):
    capacity: int
    waiting: int
    refused: int


class PublicHealth(BaseModel):
    """What somebody without a key is told."""

    status: Literal["healthy", "unhealthy"]
    service: str


class Health(BaseModel):
    """`status` unhealthy: alive, but no turn can succeed; `cli.problem` says why. `tasks`: asyncio tasks of
    the server; at rest the number stays the same, whatever happened before."""

    status: Literal["healthy", "unhealthy"]
    service: str
    version: str
    cli: CliHealth
    slots: SlotHealth
    queue: QueueHealth
    tasks: int
