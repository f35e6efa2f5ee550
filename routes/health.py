"""GET /health."""

from __future__ import annotations

import asyncio
from typing import Literal

from fastapi import APIRouter
from starlette.requests import Request

from guard.caller import caller_of
from routes.state import shared
from wire.health import CliHealth, Health, QueueHealth, Sign, SlotHealth

router = APIRouter(tags=["health"])


@router.get("/health")
async def health(request: Request) -> Health | Sign:
    """Is the server alive, can the CLI serve, and how busy is it? Starts nothing.

    Where keys are set, only a request with one is told more than the first.
    """
    parts = shared(request)
    engine = parts.backend.state
    status: Literal["healthy", "unhealthy"] = "healthy" if engine.ready else "unhealthy"
    if not caller_of(request.scope).details:
        return Sign(status=status, service=parts.service)
    admission = parts.runner.admission
    return Health(
        status=status,
        service=parts.service,
        version=parts.version,
        cli=CliHealth(
            version=engine.cli_version,
            logged_in=engine.logged_in,
            login_method=engine.login_method,
            engine=engine.level,
            abilities=dict(engine.abilities),
            processes=engine.processes,
            workers=dict(engine.workers),
            problem=engine.problem,
        ),
        slots=SlotHealth(capacity=admission.capacity, running=admission.running),
        queue=QueueHealth(capacity=admission.max_queue, waiting=admission.waiting, refused=admission.refused),
        tasks=len(asyncio.all_tasks()),
    )
