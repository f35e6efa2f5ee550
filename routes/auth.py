"""GET /v1/auth/status."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from starlette.requests import Request

from guard.caller import caller_of
from routes.state import shared
from wire.auth import AuthSign, AuthStatus, ClaudeAuth, LoginConfig, LoginStatus, ServerInfo

router = APIRouter(tags=["server"])


@router.get("/v1/auth/status")
async def auth_status(request: Request) -> AuthStatus | AuthSign:
    """How the CLI logs in, and what is missing for it. Spends no tokens.

    Where keys are set, a request without one is told only that it needs one.
    """
    if not caller_of(request.scope).details:
        return AuthSign()
    parts = shared(request)
    await parts.backend.recheck_login()
    engine, login = parts.backend.state, parts.login
    errors = [*login.missing, *([engine.problem] if engine.problem else ())]
    source: Literal["environment", "runtime", "none"] = "none"
    if parts.ring.required:
        source = "environment" if parts.ring.fixed else "runtime"
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
            api_key_required=parts.ring.required, api_key_source=source, version=parts.version
        ),
    )
