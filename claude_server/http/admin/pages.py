"""GET /, /docs, /redoc and /version: what runs here, for people and for programs."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse

from claude_server.http.admin import page_text as pages
from claude_server.http.admin.wire.version import Version
from claude_server.http.guard.caller import caller_of
from claude_server.http.model_names import listing
from claude_server.http.state import app_context

router = APIRouter(tags=["server"])
_MODELS_SHOWN = 12


@router.get("/", include_in_schema=False)
async def home(request: Request) -> HTMLResponse:
    """A page that says what runs, if that may be told, and how to use it."""
    context = app_context(request)
    base_url = str(request.base_url).removesuffix("/")
    if not caller_of(request.scope).details:
        return HTMLResponse(
            pages.home(context.service.name, base_url, {}, (), keyed=True), headers=pages.HEADERS
        )
    engine = context.backend.state
    facts = {
        "version": context.service.version,
        "claude CLI": engine.cli_version or "not found",
        "login": engine.login_method or "not known",
        "engine": engine.level,
        "state": engine.problem or "ready",
    }
    listed = listing(context.backend.models, context.policy.default_model, context.service.started_at)
    models = [model.id for model in listed][:_MODELS_SHOWN]
    page = pages.home(context.service.name, base_url, facts, models, keyed=context.ring.required)
    return HTMLResponse(page, headers=pages.HEADERS)


# FastAPI's own page loads scripts from elsewhere into this origin, and those could spend the account.
@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> HTMLResponse:
    """The OpenAPI document as a page."""
    return HTMLResponse(pages.reference(request.app.openapi()), headers=pages.HEADERS)


@router.get("/redoc", include_in_schema=False)
async def redoc() -> RedirectResponse:
    """The other address under which such a page is looked for."""
    return RedirectResponse("/docs")


@router.get("/version")
async def version(request: Request) -> Version:
    """What runs here, in short."""
    context = app_context(request)
    return Version(version=context.service.version, service=context.service.name, api_version="v1")
