"""GET /v1/tools, /v1/tools/config and /v1/tools/stats."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, StrictStr


class ToolInfo(BaseModel):
    """A tool of the CLI's own. `parameters` is the schema of its arguments, as the CLI tells the API.
    `is_safe`: it changes nothing."""

    name: str
    description: str
    category: str
    parameters: dict[str, Any]
    examples: list[str] = []
    is_safe: bool
    requires_network: bool


class ToolList(BaseModel):
    tools: list[ToolInfo]
    total: int


_Names = Annotated[list[StrictStr], Field(max_length=200)]


class ToolConfigUpdate(BaseModel):
    """What a key chooses for itself, or for its session. What is left out stays as it is."""

    allowed_tools: _Names | None = None
    disallowed_tools: _Names | None = None
    session_id: Annotated[StrictStr, Field(min_length=1, max_length=256)] | None = None


class ToolConfig(BaseModel):
    """`effective_tools`: what a request with enable_tools gets. Times are ISO 8601."""

    allowed_tools: list[str]
    disallowed_tools: list[str]
    effective_tools: list[str]
    created_at: str
    updated_at: str


class ToolStats(BaseModel):
    """`global_allowed`, `global_disallowed`: for the key, where a session chose nothing else."""

    total_tools: int
    global_allowed: int
    global_disallowed: int
    session_configs: int
    tool_categories: dict[str, int]
