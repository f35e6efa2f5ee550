"""GET /v1/auth/status."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fastapi import APIRouter
from starlette.requests import Request

from claude_server.http.admin.wire.auth import (
    AuthStatus,
    ClaudeAuth,
    LoginConfig,
    LoginStatus,
    PublicAuthStatus,
    ServerInfo,
)
from claude_server.http.guard.caller import caller_of
from claude_server.http.state import AppContext, app_context


@dataclass(frozen=True, slots=True)
class LoginFacts:
    """How the CLI logs in, as configured. `method`: claude_cli, anthropic, bedrock or vertex;
    `chosen_by`: what decided, "" if nothing did; `missing`: a sentence each; `variables`: names only."""

    method: str
    chosen_by: str
    missing: tuple[str, ...]
    variables: tuple[str, ...]


def build_router(login: LoginFacts) -> APIRouter:
    """The route, for a CLI that logs in so."""
    router = APIRouter(tags=["server"])

    @router.get("/v1/auth/status")
    async def auth_status(request: Request) -> AuthStatus | PublicAuthStatus:
        """How the CLI logs in, and what is missing for it. Spends no tokens.

        Where keys are set, a request without one is told only that it needs one.
        """
        if not caller_of(request.scope).details:
            return PublicAuthStatus()
        context = app_context(request)
        await context.backend.recheck_login()
        return _status(context, login)

    return router


def _status(context: AppContext, login: LoginFacts) -> AuthStatus:
    engine = context.backend.state
    errors = [*login.missing, *([engine.problem] if engine.problem else ())]
    source: Literal["environment", "runtime", "none"] = "none"
    if context.ring.required:
        source = "environment" if context.ring.fixed else "runtime"
    return AuthStatus(
        claude_code_auth=ClaudeAuth(
            method=login.method,
            status=LoginStatus(
                method=login.method,
                valid=not errors,
                errors=errors,
                config=LoginConfig(
                    chosen_by=login.chosen_by or None,
                    login=engine.login_method,
                    cli_version=engine.cli_version,
                ),
            ),
            environment_variables=list(login.variables),
        ),
        server_info=ServerInfo(
            api_key_required=context.ring.required, api_key_source=source, version=context.service.version
        ),
    )
