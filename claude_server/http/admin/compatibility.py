"""What would become of a chat request, from the table that decides it. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from claude_server.dialects.chat.parameters import RULES
from claude_server.dialects.chat.wire import ChatRequest
from claude_server.http import tool_requests as cli_tools
from claude_server.http.admin.wire.compatibility import AgentOptions, Compatibility, CompatibilityReport

# Request headers that change what the CLI does.
HEADERS = tuple(name.title() for name in cli_tools.HEADERS)
# What follows on the name of a field in the name of a place inside it.
_NEXT_STEP = re.compile(r"[.\[]")


def honoured() -> list[str]:
    """The fields that have an effect, in alphabetical order."""
    refused = {name for name, rule in RULES.items() if rule.answer in ("ignore", "refuse")}
    return sorted({*ChatRequest.model_fields, *RULES} - refused)


@dataclass(frozen=True, slots=True)
class Refusal:
    """How the whole request would be refused: the status, the message, and what it is about, if that is one
    thing."""

    status: int
    message: str
    param: str | None = None

    @property
    def field(self) -> str:
        """The body's field that it is about, or the header; "" for the whole."""
        return _NEXT_STEP.split(self.param or "")[0]


def report(
    body: Mapping[str, Any], ignored: Collection[str] | None = None, refused: Refusal | None = None
) -> Compatibility:
    """The report on the fields of `body`. Null is absent. `ignored`: the fields without effect, known where
    the request would be taken; else the table tells. `refused`: what is wrong where it would not."""
    supported: list[str] = []
    unsupported: list[str] = []
    warnings: list[str] = []
    suggestions: list[str] = []
    for name, value in body.items():
        if value is None:
            continue
        warning, suggestion = _complaint(name, value, ignored, refused)
        (unsupported if warning else supported).append(name)
        warnings += [warning] if warning else []
        suggestions += [suggestion] if suggestion else []
    if refused is not None and refused.field not in body:
        warnings.append(f"The request is refused with status {refused.status}: {refused.message}")
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


def _complaint(
    name: str, value: Any, ignored: Collection[str] | None, refused: Refusal | None
) -> tuple[str, str]:
    """(warning, suggestion) about a field; "" where there is nothing to say."""
    rule = RULES.get(name)
    neutral = rule is not None and rule.neutral(value)
    if rule is not None and rule.answer == "refuse" and not neutral:
        return f"'{name}' is refused: {rule.why}.", f"Leave out '{name}': a request with it gets a 400."
    if refused is not None and refused.field == name:
        advice = f"Change '{name}' or leave it out: this request gets a {refused.status}."
        return f"'{name}' is refused: {refused.message}", advice
    if rule is None:
        known = name in ChatRequest.model_fields
        return ("", "") if known else (f"'{name}' is not known, and is passed over.", "")
    if neutral if ignored is None else name not in ignored:
        return "", ""
    return f"'{name}' has no effect: {rule.why}.", f"Leave out '{name}': it is named in x-ignored-params."
