"""A model for suites that ask what they like: it calls a tool where that is wanted, with fitting arguments.

It knows only what the questions of such suites say: a number, a name in quotes, the tool's own words.
"""

from __future__ import annotations

import json
import re
from typing import Any

from claude_server.standin import ApiRequest, Reply, ToolUse


def act(request: ApiRequest) -> Reply:
    """An answer, a call, or JSON, as the question has it."""
    question = next(text for role, text in reversed(request.conversation) if role == "user")
    if _answered(request):
        return Reply.of("The tool has said it.")
    tool = _wanted(request, question)
    if tool is not None:
        return Reply.of(ToolUse(tool["name"], _filled(tool["input_schema"], question)), chunk_chars=7)
    if "JSON" in question:
        return Reply.of(json.dumps(dict.fromkeys(re.findall(r"'(\w+)'", question), "a cat")))
    return Reply.of("Hello, what can I do for you today?", chunk_chars=7)


def _answered(request: ApiRequest) -> bool:
    """Whether the conversation ends with a tool's result."""
    content = next(m["content"] for m in reversed(request.messages) if m["role"] == "user")
    return isinstance(content, list) and any(block["type"] == "tool_result" for block in content)


def _wanted(request: ApiRequest, question: str) -> dict[str, Any] | None:
    """The tool that must be called, or whose name is in the question."""
    tools: list[dict[str, Any]] = request.body.get("tools") or []
    choice = request.body.get("tool_choice") or {}
    if choice.get("type") == "tool":
        return next(tool for tool in tools if tool["name"] == choice["name"])
    if choice.get("type") == "any":
        return tools[0]
    said = set(re.findall(r"[a-z]+", question.lower()))
    return next((tool for tool in tools if said & set(tool["name"].split("_")[-1:])), None)


def _filled(schema: dict[str, Any], question: str) -> dict[str, Any]:
    """Every property, by its type, out of the question."""
    number = re.search(r"\d+", question)
    quoted = re.search(r"'(.+?)'", question)
    values = {
        "integer": int(number[0]) if number else 1,
        "string": quoted[1] if quoted else question,
    }
    return {name: values[_type(kind)] for name, kind in (schema.get("properties") or {}).items()}


def _type(schema: dict[str, Any]) -> str:
    """string, or integer; the first of several."""
    first = schema["anyOf"][0] if "anyOf" in schema else schema
    return str(first["type"])
