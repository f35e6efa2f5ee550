"""What would become of a chat request, from the table that decides it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claude_server.dialects.chat.parameters import RULES
from claude_server.dialects.chat.wire import ChatRequest
from claude_server.http import tool_requests as cli_tools
from claude_server.http.admin.wire.compatibility import AgentOptions, Compatibility, CompatibilityReport

# Request headers that change what the CLI does.
HEADERS = tuple(name.title() for name in cli_tools.HEADERS)


def honoured() -> list[str]:
    """The fields that have an effect, in alphabetical order."""
    refused = {name for name, rule in RULES.items() if rule.answer in ("ignore", "refuse")}
    return sorted({*ChatRequest.model_fields, *RULES} - refused)


def report(body: Mapping[str, Any], *, tools: bool) -> Compatibility:
    """The report on the fields of `body`. Null is absent. `tools`: are those of the CLI's own allowed?"""
    supported, unsupported, warnings, suggestions = [], [], [], []
    known = set(honoured())
    for name, value in body.items():
        rule = RULES.get(name)
        if value is None:
            continue
        if name == "enable_tools" and value and not tools:
            unsupported.append(name)
            warnings.append(f"'{name}' is refused: {cli_tools.NOT_ALLOWED}")
            suggestions.append(f"Leave out '{name}': a request with it gets a 403.")
        elif rule.neutral(value) if rule is not None else name in known:
            supported.append(name)
        elif rule is None:
            unsupported.append(name)
            warnings.append(f"'{name}' is not known, and is passed over.")
        else:
            unsupported.append(name)
            because = f": {rule.why}" if rule.why else ""
            if rule.answer == "refuse":
                warnings.append(f"'{name}' is refused{because}.")
                suggestions.append(f"Leave out '{name}': a request with it gets a 400.")
            else:
                warnings.append(f"'{name}' has no effect{because}.")
                suggestions.append(f"Leave out '{name}': it is named in x-ignored-params.")
    if not isinstance(body.get("messages"), list):
        suggestions.append("Add 'messages': a request needs them.")
    return Compatibility(
        compatibility_report=CompatibilityReport(
            supported_parameters=supported,
            unsupported_parameters=unsupported,
            warnings=warnings,
            suggestions=suggestions,
        ),
        claude_agent_sdk_options=AgentOptions(supported=honoured(), custom_headers=list(HEADERS)),
    )
