"""Tools, the choice among them, and the form of the answer. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from claude_server.core import strict_json
from claude_server.core.answer_format import AnswerFormat, InvalidSchema, check_schema
from claude_server.core.errors import InvalidRequest
from claude_server.core.model import Tool, ToolChoice
from claude_server.dialects.chat import wire as chat
from claude_server.dialects.chat.tool_schema import MAX_STRICT_TOOLS, as_one_object, can_be_strict

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def to_tools(request: chat.ChatRequest) -> tuple[tuple[Tool, ...], ToolChoice, tuple[str, ...]]:
    """The tools that the model is offered, whether it must call one, and notices. Raises InvalidRequest."""
    if request.tools:
        functions = [(f"tools[{i}].function", tool.function) for i, tool in enumerate(request.tools)]
    else:
        functions = [(f"functions[{i}]", function) for i, function in enumerate(request.functions or ())]
    notices: list[str] = []
    tools = tuple(_tool(function, place, notices) for place, function in functions)
    names: set[str] = set()
    for (place, _), tool in zip(functions, tools, strict=True):
        if tool.name in names:
            raise InvalidRequest(f"There are two tools named '{tool.name}'.", param=f"{place}.name")
        names.add(tool.name)
    offered, choice = _chosen(request, tools)
    return _with_few_strict(offered, notices), choice, tuple(notices)


def _with_few_strict(tools: tuple[Tool, ...], notices: list[str]) -> tuple[Tool, ...]:
    left = MAX_STRICT_TOOLS
    result = []
    for tool in tools:
        left -= tool.strict
        result.append(tool if left >= 0 else replace(tool, strict=False))
    if left < 0:
        notices.append(f"'strict' holds for the first {MAX_STRICT_TOOLS} tools: the API takes no more")
    return tuple(result)


def _tool(function: chat.Function, place: str, notices: list[str]) -> Tool:
    if not _NAME.fullmatch(function.name):
        raise InvalidRequest(
            f"'{function.name[:80]}' can't be a tool's name: 1 to 64 letters, digits, '_' and '-'.",
            param=f"{place}.name",
        )
    given = function.parameters or {}
    schema = {"type": "object", "properties": {}} if not given else {"type": "object", **given}
    where = f"{place}.parameters"
    if schema["type"] != "object":
        raise InvalidRequest(f"The parameters of '{function.name}' must be an object.", param=where)
    _check(schema, f"The schema of the tool '{function.name}'", where, patterns=False)
    # It would reach the API as a property of the schema, and says nothing there.
    schema.pop("$schema", None)
    schema, left_out = as_one_object(schema)
    for word in left_out:
        notices.append(
            f"'{word}' at the top of the parameters of '{function.name}' was left out: the API takes none"
        )
    strict = function.strict is True and not left_out and can_be_strict(schema)
    if function.strict and not strict:
        notices.append(
            f"'strict' was left out for '{function.name}': the API has no strict form of its schema"
        )
    return Tool(function.name, function.description or "", json.dumps(schema), strict)


def _check(schema: dict[str, Any], what: str, place: str, *, patterns: bool) -> None:
    try:
        strict_json.check(schema)
        check_schema(json.dumps(schema), patterns=patterns)
    except (strict_json.NotStrictJson, InvalidSchema) as error:
        raise InvalidRequest(f"{what} is broken: {error}.", param=place) from None


def _chosen(request: chat.ChatRequest, tools: tuple[Tool, ...]) -> tuple[tuple[Tool, ...], ToolChoice]:
    legacy = not request.tools
    choice = request.function_call if legacy and request.tool_choice is None else request.tool_choice
    parallel = not legacy and request.parallel_tool_calls is not False
    if isinstance(choice, chat.AllowedToolsChoice):
        allowed = [named.function.name for named in choice.allowed_tools.tools]
        _known(allowed, tools)
        names = frozenset(allowed)
        tools = tuple(tool for tool in tools if tool.name in names)
        return tools, _mode(choice.allowed_tools.mode, tools, parallel)
    if isinstance(choice, chat.NamedTool | chat.Named):
        name = choice.name if isinstance(choice, chat.Named) else choice.function.name
        _known([name], tools)
        return tools, ToolChoice("tool", name, parallel)
    return tools, _mode(choice or "auto", tools, parallel)


def _mode(word: str, tools: Sequence[Tool], parallel: bool) -> ToolChoice:
    if word == "required" and not tools:
        raise InvalidRequest("A tool is required, but there are no 'tools'.", param="tool_choice")
    if word == "required":
        return ToolChoice("any", None, parallel)
    return ToolChoice("none" if word == "none" else "auto", None, parallel or not tools)


def _known(names: Sequence[str], tools: Sequence[Tool]) -> None:
    present = {tool.name for tool in tools}
    name = next((name for name in names if name not in present), None)
    if name is not None:
        raise InvalidRequest(f"There is no tool '{name[:80]}' among the 'tools'.", param="tool_choice")


def to_answer_format(request: chat.ChatRequest) -> AnswerFormat | None:
    """The form that the answer must have; None: any. Raises InvalidRequest."""
    form = request.response_format
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        return AnswerFormat()
    if form.json_schema is None:
        raise InvalidRequest("'response_format' needs 'json_schema'.", param="response_format.json_schema")
    schema = form.json_schema.schema_ or {}
    _check(schema, "The schema of the answer", "response_format.json_schema.schema", patterns=True)
    return AnswerFormat(json.dumps(schema))
