"""POST /v1/debug/request: a request as it arrived, and what is wrong with it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from claude_server.dialects.base import FieldError


class ValidationResult(BaseModel):
    """`validated_data` or `errors`, as `valid` says."""

    valid: bool
    validated_data: dict[str, Any] | None = None
    errors: list[FieldError] | None = None


class DebugInfo(BaseModel):
    """Header values that may be secrets are given as ***."""

    headers: dict[str, str]
    method: str
    url: str
    raw_body: str
    json_parse_error: str | None
    parsed_body: Any
    validation_result: ValidationResult
    debug_mode_enabled: bool
    example_valid_request: dict[str, Any]


class DebugAnswer(BaseModel):
    debug_info: DebugInfo
