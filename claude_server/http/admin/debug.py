"""POST /v1/debug/request and POST /v1/compatibility. Nothing is asked of the CLI."""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter
from pydantic import ValidationError
from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response

from claude_server.core.errors import (
    InvalidRequest,
    ModelNotFound,
    ToolsNotAllowed,
    TurnError,
    UnsupportedParameter,
)
from claude_server.dialects.base import FieldError, Prepared
from claude_server.dialects.chat.door import CHAT
from claude_server.dialects.chat.wire import ChatRequest
from claude_server.http import body
from claude_server.http.admin.compatibility import Refusal, report
from claude_server.http.admin.wire.compatibility import Compatibility
from claude_server.http.admin.wire.debug import DebugAnswer, DebugInfo, ValidationResult
from claude_server.http.complaints import field_errors, invalid
from claude_server.http.errors import error_mapping
from claude_server.http.openapi import json_body
from claude_server.http.preparing import prepare

_SECRET = re.compile(r"auth|cookie|key|token|secret|password|credential", re.IGNORECASE)
# How a request can be refused before its turn is run.
_REFUSALS = (InvalidRequest, ModelNotFound, ToolsNotAllowed)
_EXAMPLE = {"model": "default", "messages": [{"role": "user", "content": "Hello"}], "stream": False}


def build_router(debug_mode: bool) -> APIRouter:
    """The routes. `debug_mode`: does the log say all?"""
    router = APIRouter(tags=["server"])
    asks_for_chat = json_body(ChatRequest)

    @router.post("/v1/debug/request", response_model=DebugAnswer, openapi_extra=asks_for_chat)
    async def debug_request(request: Request) -> Response:
        """How this request arrived, and whether it is a chat request that would be taken."""
        return await _looked_at(request, debug_mode)

    router.add_api_route(
        "/v1/compatibility",
        compatibility,
        methods=["POST"],
        response_model=Compatibility,
        openapi_extra=asks_for_chat,
    )
    return router


async def _looked_at(request: Request, debug_mode: bool) -> Response:
    raw = await body.read_body(request)
    parsed, problem = await body.beside(request, lambda: _parsed(raw))
    info = DebugInfo(
        headers={k: "***" if _SECRET.search(k) else v for k, v in request.headers.items()},
        method=request.method,
        url=str(request.url),
        raw_body=raw.decode("utf-8", "replace"),
        json_parse_error=problem,
        parsed_body=parsed,
        validation_result=await _validated(request, raw),
        debug_mode_enabled=debug_mode,
        example_valid_request=_EXAMPLE,
    )
    return await body.beside(request, lambda: _json(DebugAnswer(debug_info=info)))


async def compatibility(request: Request) -> Response:
    """What would become of each field of a chat request."""
    raw = await body.read_body(request)
    parsed, problem = await body.beside(request, lambda: _parsed(raw))
    if problem is not None:
        raise InvalidRequest(f"The body is not valid JSON: {problem}.")
    if not isinstance(parsed, dict):
        raise InvalidRequest("The body is no JSON object: send a chat request.")
    try:
        prepared = await _prepared(request, raw)
    except _REFUSALS as error:
        refused = Refusal(error_mapping(error).status, error.message, error.param)
        return _json(report(parsed, refused=refused))
    return _json(report(parsed, prepared.ignored))


async def _prepared(request: Request, raw: bytes) -> Prepared:
    def parse() -> ChatRequest:
        try:
            return CHAT.request.model_validate_json(raw)
        except ValidationError as error:
            raise invalid(error, raw) from None

    return await prepare(request, CHAT, await body.beside(request, parse), fetch=False)


def _parsed(raw: bytes) -> tuple[Any, str | None]:
    try:
        return from_json(raw, allow_inf_nan=False), None
    except ValueError as error:
        return None, str(error)


async def _validated(request: Request, raw: bytes) -> ValidationResult:
    """Whether the route would take it: prepared as there, but that no image is fetched."""

    def parse() -> ChatRequest | list[FieldError]:
        try:
            return CHAT.request.model_validate_json(raw)
        except ValidationError as error:
            return field_errors(error, raw)

    asked = await body.beside(request, parse)
    if isinstance(asked, list):
        return ValidationResult(valid=False, errors=asked)
    try:
        await prepare(request, CHAT, asked, fetch=False)
    except _REFUSALS as error:
        refused = error
        return await body.beside(request, lambda: _refused(asked, refused))
    return await body.beside(
        request, lambda: ValidationResult(valid=True, validated_data=asked.model_dump(exclude_unset=True))
    )


def _refused(asked: ChatRequest, error: TurnError) -> ValidationResult:
    found = FieldError(
        field=error.param or "",
        message=error.message,
        type="unsupported_parameter" if isinstance(error, UnsupportedParameter) else "value_error",
        input=asked.model_dump().get(error.param or ""),
    )
    return ValidationResult(valid=False, errors=[found])


def _json(answer: DebugAnswer | Compatibility) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")
