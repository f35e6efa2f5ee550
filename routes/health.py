"""GET /health."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from starlette.requests import Request

from routes.state import shared
from wire.health import CliHealth, Health, QueueHealth, SlotHealth

router = APIRouter(tags=["health"])


@router.get("/health")
async def health(request: Request) -> Health:
    """Is the server alive, can the CLI serve, and how busy is it? Starts nothing."""
    parts = shared(request)
    engine = parts.backend.state
    admission = parts.runner.admission
    return Health(
        status="healthy" if engine.ready else "unhealthy",
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
