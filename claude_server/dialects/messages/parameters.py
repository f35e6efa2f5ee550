"""What becomes of each parameter of a message: honoured, ignored and disclosed, or refused. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claude_server.dialects.rules import Rule, among, empty, honoured, never
from claude_server.dialects.shared_rules import NOT_TOLD, SAMPLING, SAMPLING_ONLY

_NOT_RUN = "the API would run it, and nothing here can"


def _nothing(value: Any) -> bool:
    return value in (None, [], {})


RULES: Mapping[str, Rule] = {
    "messages": honoured("all roles and blocks but those of tools that the API runs, and of stored files"),
    "model": honoured("any name of /v1/models, or a full model id; the answer names the model's id"),
    "max_tokens": honoured("as the API's limit; required, 1 or more"),
    "stream": honoured("server-sent events"),
    "system": honoured("text, or blocks of text; a client's billing line is left out"),
    "stop_sequences": honoured("by the API; blank ones by the server"),
    "tools": honoured(
        "the client's own; bash, text_editor and memory as tools of their names and schemas. tool_search is "
        "left out, and all tools are loaded; those that the API runs are refused"
    ),
    "tool_choice": honoured("auto, any, tool, none, and disable_parallel_tool_use"),
    "thinking": honoured(
        "disabled: none; adaptive, enabled with budget_tokens, and display: as the model takes them. Without "
        "it the model may think, and nothing of it is shown"
    ),
    "output_config": honoured("effort; format by a tool that takes the answer, which comes as one text"),
    "output_format": honoured("as output_config.format, in its older place"),
    "metadata": honoured("user_id is logged as a hash"),
    "service_tier": honoured("standard_only; auto is as usual", among("auto", "standard_only")),
    **SAMPLING,
    "top_k": Rule("ignore", SAMPLING_ONLY),
    "cache_control": Rule(
        "honour", "the CLI sets its own marks; ttl 1h: all of them last for an hour", empty
    ),
    "context_management": Rule("ignore", NOT_TOLD, empty),
    "speed": Rule("ignore", NOT_TOLD, among("standard")),
    "diagnostics": Rule("ignore", NOT_TOLD, empty),
    "fallbacks": Rule("ignore", NOT_TOLD, empty),
    "task_budget": Rule("ignore", NOT_TOLD, empty),
    "betas": Rule("ignore", NOT_TOLD, empty),
    "thread": Rule("refuse", "there are no threads here: send the whole conversation in 'messages'", never),
    "inference_geo": Rule("refuse", NOT_TOLD, _nothing),
    "container": Rule("refuse", _NOT_RUN, _nothing),
    "skills": Rule("refuse", _NOT_RUN, _nothing),
    "mcp_servers": Rule("refuse", f"{_NOT_RUN}; docs/tools.md tells how the CLI gets MCP servers", _nothing),
    "compaction": Rule("refuse", NOT_TOLD, _nothing),
    "billing_policy": Rule("refuse", NOT_TOLD, _nothing),
    "fallback_credit_token": Rule("refuse", NOT_TOLD, _nothing),
}
