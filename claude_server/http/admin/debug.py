"""POST /v1/debug/request and POST /v1/compatibility. Nothing is asked of the CLI."""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter
from pydantic import ValidationError
from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response

from claude_server.core.errors import InvalidRequest, ToolsNotAllowed, UnsupportedParameter
from claude_server.core.model import Image
from claude_server.dialects.chat.errors import FieldError
from claude_server.dialects.chat.messages import remote_images
from claude_server.dialects.chat.request import check_length, to_turn
from claude_server.dialects.chat.wire import ChatRequest
from claude_server.http import body
from claude_server.http import tool_requests as cli_tools
from claude_server.http.admin.cli_tools import resolve_tools
from claude_server.http.admin.compatibility import report
from claude_server.http.admin.wire.compatibility import Compatibility
from claude_server.http.admin.wire.debug import DebugAnswer, DebugInfo, ValidationResult
from claude_server.http.complaints import field_errors
from claude_server.http.openapi import json_body
from claude_server.http.state import app_context

router = APIRouter(tags=["server"])

_SECRET = re.compile(r"auth|cookie|key|token|secret|password|credential", re.IGNORECASE)
_SOME_IMAGE = Image("image/png", "")
_EXAMPLE = {"model": "default", "messages": [{"role": "user", "content": "Hello"}], "stream": False}


@router.post("/v1/debug/request", response_model=DebugAnswer, openapi_extra=json_body(ChatRequest))
async def debug_request(request: Request) -> Response:
    """How this request arrived, and whether it is a chat request that would be taken."""
    raw = await body.read_body(request)
    parsed, problem = await body.beside(request, lambda: _parsed(raw))
    info = DebugInfo(
        headers={k: "***" if _SECRET.search(k) else v for k, v in request.headers.items()},
        method=request.method,
        url=str(request.url),
        raw_body=raw.decode("utf-8", "replace"),
        json_parse_error=problem,
        parsed_body=parsed,
        validation_result=await body.beside(request, lambda: _validated(request, raw)),
        debug_mode_enabled=app_context(request).debug,
        example_valid_request=_EXAMPLE,
    )
    return await body.beside(request, lambda: _json(DebugAnswer(debug_info=info)))


@router.post("/v1/compatibility", response_model=Compatibility, openapi_extra=json_body(ChatRequest))
async def compatibility(request: Request) -> Response:
    """What would become of each field of a chat request."""
    raw = await body.read_body(request)
    parsed, problem = await body.beside(request, lambda: _parsed(raw))
    if problem is not None:
        raise InvalidRequest(f"The body is not valid JSON: {problem}.")
    if not isinstance(parsed, dict):
        raise InvalidRequest("The body is no JSON object: send a chat request.")
    return _json(report(parsed, tools=bool(app_context(request).tool_policy.names)))


def _parsed(raw: bytes) -> tuple[Any, str | None]:
    try:
        return from_json(raw, allow_inf_nan=False), None
    except ValueError as error:
        return None, str(error)


def _validated(request: Request, raw: bytes) -> ValidationResult:
    context = app_context(request)
    try:
        asked = ChatRequest.model_validate_json(raw)
        check_length(asked)
        # No image is fetched for it: any will do in its place.
        remote = remote_images(asked.messages) if context.images is not None else ()
        headers = cli_tools.parse_headers(request.headers)
        tools = resolve_tools(request, headers, asked.session_id) if asked.enable_tools else None
        to_turn(asked, "debug", context.policy, dict.fromkeys(remote, _SOME_IMAGE), tools)
    except ValidationError as error:
        return ValidationResult(valid=False, errors=field_errors(error, raw))
    except (InvalidRequest, ToolsNotAllowed) as error:
        refused = FieldError(
            field=error.param or "",
            message=error.message,
            type="unsupported_parameter" if isinstance(error, UnsupportedParameter) else "value_error",
            input=asked.model_dump().get(error.param or ""),
        )
        return ValidationResult(valid=False, errors=[refused])
    return ValidationResult(valid=True, validated_data=asked.model_dump(exclude_unset=True))


def _json(answer: DebugAnswer | Compatibility) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")
