"""GET /health, /livez and /readyz."""

from __future__ import annotations

import asyncio
from typing import Literal

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from claude_server.http.admin.wire.health import (
    CliHealth,
    Health,
    Liveness,
    PublicHealth,
    QueueHealth,
    Readiness,
    ReadyStatus,
    SlotHealth,
)
from claude_server.http.guard.caller import caller_of
from claude_server.http.state import app_context

router = APIRouter(tags=["health"])


# Some monitors ask by HEAD.
@router.head("/health", include_in_schema=False)
@router.get("/health")
async def health(request: Request) -> Health | PublicHealth:
    """Is the server alive, can the CLI serve, and how busy is it? Starts nothing.

    Where keys are set, only a request with one is told more than the first.
    """
    context = app_context(request)
    engine = context.backend.state
    status: Literal["healthy", "unhealthy"] = "healthy" if engine.ready else "unhealthy"
    if not caller_of(request.scope).details:
        return PublicHealth(status=status, service=context.service.name)
    admission = context.runner.admission
    return Health(
        status=status,
        service=context.service.name,
        version=context.service.version,
        cli=CliHealth(
            version=engine.cli_version,
            logged_in=engine.logged_in,
            login_method=engine.login_method,
            engine=engine.level,
            abilities=dict(engine.abilities),
            processes=engine.processes,
            workers=dict(engine.workers),
            problem=engine.problem or engine.account_problem,
        ),
        slots=SlotHealth(capacity=admission.capacity, running=admission.running),
        queue=QueueHealth(capacity=admission.max_queue, waiting=admission.waiting, refused=admission.refused),
        tasks=len(asyncio.all_tasks()),
    )


@router.head("/livez", include_in_schema=False)
@router.get("/livez")
async def livez(request: Request) -> Liveness:
    """Is the process alive? For who restarts it."""
    return Liveness(service=app_context(request).service.name)


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", responses={503: {"model": Readiness}})
async def readyz(request: Request, response: Response) -> Readiness:
    """Can a turn succeed? For who sends it requests. Says no from the first signal to stop on."""
    context = app_context(request)
    # Who isn't ready gets no requests, and would never notice that it could be.
    context.backend.probe_if_due()
    if context.runner.drain.begun:
        status: ReadyStatus = "draining"
    else:
        status = "ready" if context.backend.state.ready else "unready"
    if status != "ready":
        response.status_code = 503
    return Readiness(status=status, service=context.service.name)
