"""What is answered when a test scripts nothing: short, deterministic, and of the form that was asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from claude_server.standin.log import ApiRequest
from claude_server.standin.script import Reply, Text, ToolUse

__all__ = ["default_reply", "minimal_instance"]

# The CLI offers a JSON schema to the model as a tool of this name.
_STRUCTURED_OUTPUT = "StructuredOutput"
_MAX_DEPTH = 32


def default_reply(request: ApiRequest) -> Reply:
    """`You said: ...`, or the call or the JSON that the request demands."""
    tool = _demanded_tool(request)
    if tool is not None:
        schema = tool.get("input_schema") or {}
        return Reply(blocks=[ToolUse(str(tool.get("name")), _as_object(minimal_instance(schema)))])
    schema = _format_schema(request.body)
    if schema is not None:
        return Reply(blocks=[Text(json.dumps(minimal_instance(schema)))])
    result = _tool_result_text(request)
    if result is not None:
        return Reply(blocks=[Text(f"The tool said: {result}")])
    return Reply(blocks=[Text(f"You said: {request.last_user_text}")])


def _demanded_tool(request: ApiRequest) -> Mapping[str, Any] | None:
    """The tool that has to be called: by tool_choice, or because it is the CLI's way to a JSON schema."""
    tools = request.body.get("tools") or []
    choice = request.body.get("tool_choice") or {}
    if choice.get("type") == "any" and tools:
        first: Mapping[str, Any] = tools[0]
        return first
    wanted = choice.get("name") if choice.get("type") == "tool" else _STRUCTURED_OUTPUT
    if choice.get("type") != "tool" and _STRUCTURED_OUTPUT in _calls_just_answered(request):
        # Older CLIs hand the model the tool's result and go on until it stops calling: never twice.
        return None
    return next((tool for tool in tools if tool.get("name") == wanted), None)


def _calls_just_answered(request: ApiRequest) -> list[str]:
    """The names of the tools that the last answer called, if the client has come back with results."""
    answers = [m for m in request.messages if m.get("role") == "assistant"]
    if not answers or _tool_result_text(request) is None:
        return []
    content = answers[-1].get("content")
    blocks = content if isinstance(content, list) else []
    return [str(b.get("name")) for b in blocks if isinstance(b, Mapping) and b.get("type") == "tool_use"]


def _format_schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    chosen = (body.get("output_config") or {}).get("format") or {}
    schema = chosen.get("schema") if chosen.get("type") == "json_schema" else None
    return schema if isinstance(schema, Mapping) else None


def _tool_result_text(request: ApiRequest) -> str | None:
    """The text of the last tool_result, if the last user message is made of results."""
    users = [m for m in request.messages if m.get("role") == "user"]
    content = users[-1].get("content") if users else None
    blocks = [b for b in content if isinstance(b, Mapping)] if isinstance(content, list) else []
    results = [b for b in blocks if b.get("type") == "tool_result"]
    if not results:
        return None
    inner = results[-1].get("content")
    if isinstance(inner, list):
        return "".join(str(b.get("text", "")) for b in inner if isinstance(b, Mapping))
    return str(inner or "")


def _as_object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def minimal_instance(schema: Any, root: Any = None, depth: int = 0) -> Any:
    """A small value that fits the usual kind of JSON schema.

    Knows const, enum, default, $ref within the document, anyOf/oneOf/allOf, required properties and the
    lower bounds of lengths and numbers; not patterns or formats.
    """
    if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
        return None
    root = schema if root is None else root
    for keyword in ("const", "default"):
        if keyword in schema:
            return schema[keyword]
    if schema.get("enum"):
        return schema["enum"][0]
    if "$ref" in schema:
        return minimal_instance(_resolve(str(schema["$ref"]), root), root, depth + 1)
    for keyword in ("anyOf", "oneOf"):
        if schema.get(keyword):
            return minimal_instance(schema[keyword][0], root, depth + 1)
    if schema.get("allOf"):
        return minimal_instance(_merged(schema["allOf"], root), root, depth + 1)
    return _of_type(schema, root, depth)


def _of_type(schema: Mapping[str, Any], root: Any, depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else None)
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object":
        fields = schema.get("properties") or {}
        return {n: minimal_instance(fields.get(n, {}), root, depth + 1) for n in schema.get("required") or ()}
    if kind == "array":
        return [minimal_instance(schema.get("items"), root, depth + 1)] * int(schema.get("minItems", 0))
    if kind == "string":
        return "x" * int(schema.get("minLength", 0))
    if kind in ("integer", "number"):
        return _number(schema)
    return False if kind == "boolean" else None


def _number(schema: Mapping[str, Any]) -> Any:
    if "minimum" in schema:
        return schema["minimum"]
    if "exclusiveMinimum" in schema:
        return schema["exclusiveMinimum"] + 1
    return min(0, schema.get("maximum", 0))


def _resolve(reference: str, root: Any) -> Any:
    """The schema at a local JSON pointer (#/$defs/Name), or {} if there is none."""
    found = root
    for key in reference.removeprefix("#").strip("/").split("/"):
        if key:
            found = found.get(key, {}) if isinstance(found, Mapping) else {}
    return found


def _merged(schemas: Any, root: Any) -> dict[str, Any]:
    """All parts of an allOf as one object schema."""
    merged: dict[str, Any] = {"properties": {}, "required": []}
    for part in schemas:
        known = _resolve(str(part["$ref"]), root) if "$ref" in part else part
        merged["properties"].update(known.get("properties") or {})
        merged["required"].extend(known.get("required") or ())
        merged.update({k: v for k, v in known.items() if k not in ("properties", "required")})
    return merged
