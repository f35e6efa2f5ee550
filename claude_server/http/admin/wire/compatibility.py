"""POST /v1/compatibility: what becomes of each field of a chat request."""

from __future__ import annotations

from pydantic import BaseModel


class CompatibilityReport(BaseModel):
    """Names of fields of the request; `warnings` and `suggestions` are sentences."""

    supported_parameters: list[str]
    unsupported_parameters: list[str]
    warnings: list[str]
    suggestions: list[str]


class AgentOptions(BaseModel):
    """What this server takes at all: `supported` fields, and request headers with an effect on the CLI."""

    supported: list[str]
    custom_headers: list[str]


class Compatibility(BaseModel):
    compatibility_report: CompatibilityReport
    claude_agent_sdk_options: AgentOptions
