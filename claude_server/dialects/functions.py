"""The caller's tools as the API takes them, the choice among them, and schemas of answers. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from claude_server.core import strict_json
from claude_server.core.answer_format import AnswerFormat, InvalidSchema, check_schema
from claude_server.core.errors import InvalidRequest
from claude_server.core.model import Tool, ToolChoice
from claude_server.dialects.tool_schema import MAX_STRICT_TOOLS, as_one_object, can_be_strict

_NAME = re.compile(r"[A-Za-z0-9_-]+")
# OpenAI's limit for a name; the API takes 128.
_LONGEST_NAME = 64


class FunctionLike(Protocol):
    """A function as OpenAI's dialects describe it; `parameters` is the schema of its arguments."""

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str | None: ...

    @property
    def parameters(self) -> dict[str, Any] | None: ...

    @property
    def strict(self) -> bool | None: ...


def to_tools(
    functions: Sequence[tuple[str, FunctionLike]], notices: list[str], *, longest_name: int = _LONGEST_NAME
) -> tuple[Tool, ...]:
    """The tools for functions, each with its place in the request. Adds notices. Raises InvalidRequest."""
    for place, function in functions:
        _check_name(function.name, longest_name, f"{place}.name")
    tools = tuple(_tool(function, place, notices) for place, function in functions)
    names: set[str] = set()
    for (place, _), tool in zip(functions, tools, strict=True):
        if tool.name in names:
            raise InvalidRequest(f"There are two tools named '{tool.name}'.", param=f"{place}.name")
        names.add(tool.name)
    return tools


def with_few_strict(tools: tuple[Tool, ...], notices: list[str]) -> tuple[Tool, ...]:
    """The tools, of which no more are strict than the API takes. Adds a notice."""
    left = MAX_STRICT_TOOLS
    result = []
    for tool in tools:
        left -= tool.strict
        result.append(tool if left >= 0 else replace(tool, strict=False))
    if left < 0:
        notices.append(f"'strict' holds for the first {MAX_STRICT_TOOLS} tools: the API takes no more")
    return tuple(result)


def _check_name(name: str, longest: int, place: str) -> None:
    if len(name) > longest or not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"'{name[:80]}' can't be a tool's name: 1 to {longest} letters, digits, '_' and '-'.", param=place
        )


def _tool(function: FunctionLike, place: str, notices: list[str]) -> Tool:
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


def answer_format(schema: Mapping[str, Any] | None, place: str) -> AnswerFormat:
    """JSON that conforms to a schema; None: any JSON. Raises InvalidRequest."""
    given = dict(schema or {})
    _check(given, "The schema of the answer", place, patterns=True)
    return AnswerFormat(json.dumps(given))


def choice_by_word(word: str, tools: Sequence[Tool], parallel: bool) -> ToolChoice:
    """The choice for OpenAI's none, auto or required. Raises InvalidRequest."""
    if word == "required" and not tools:
        raise InvalidRequest("A tool is required, but there are no 'tools'.", param="tool_choice")
    if word == "required":
        return ToolChoice("any", None, parallel)
    return ToolChoice("none" if word == "none" else "auto", None, parallel or not tools)


def check_known(names: Sequence[str], tools: Sequence[Tool]) -> None:
    """See that there are tools of these names. Raises InvalidRequest."""
    present = {tool.name for tool in tools}
    name = next((name for name in names if name not in present), None)
    if name is not None:
        raise InvalidRequest(f"There is no tool '{name[:80]}' among the 'tools'.", param="tool_choice")
