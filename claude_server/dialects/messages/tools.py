"""The tools of a message, and the choice among them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from claude_server.core.errors import InvalidRequest, UnsupportedParameter
from claude_server.core.model import Tool, ToolChoice
from claude_server.dialects import functions
from claude_server.dialects.functions import check_known, with_few_strict
from claude_server.dialects.messages import wire

# The API's own limit for a name.
_LONGEST_NAME = 128
_DATED = re.compile(r"(.+)_20\d{6}")
_STRING = {"type": "string"}
_PATH = {"type": "string", "description": "Path of a file or a folder."}
# The arguments of commands that view and change files.
_EDITS: Mapping[str, Any] = {
    "path": _PATH,
    "view_range": {"type": "array", "items": {"type": "integer"}},
    "file_text": _STRING,
    "old_str": _STRING,
    "new_str": _STRING,
    "insert_line": {"type": "integer"},
    "insert_text": _STRING,
}


def _object(properties: Mapping[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), "required": list(required)}


@dataclass(frozen=True, slots=True)
class _Function:
    name: str
    description: str | None
    parameters: dict[str, Any] | None
    strict: bool | None = None


# Tools that the client runs and the API describes, by their kind: name, description, and schema of the
# arguments, as Anthropic documents them.
_TYPED: Mapping[str, _Function] = {
    "bash": _Function(
        "bash",
        "Runs commands in a persistent bash session. `restart`: start the session anew.",
        _object({"command": _STRING, "restart": {"type": "boolean"}}),
    ),
    "text_editor": _Function(
        "str_replace_based_edit_tool",
        "Views, creates and edits files. `view` shows a file, or the part of it in `view_range`, or a "
        "folder; `create` writes a file; `str_replace` puts `new_str` in place of the only `old_str`; "
        "`insert` puts `insert_text` after the line `insert_line`.",
        _object(
            {
                "command": {"type": "string", "enum": ["view", "create", "str_replace", "insert"]},
                **_EDITS,
            },
            *("command", "path"),
        ),
    ),
    "memory": _Function(
        "memory",
        "Keeps files under /memories that outlast this conversation: look there first, and note there what "
        "will be needed later. Commands: `view`, `create`, `str_replace`, `insert`, `delete`, `rename`.",
        _object(
            {
                "command": {
                    "type": "string",
                    "enum": ["view", "create", "str_replace", "insert", "delete", "rename"],
                },
                **_EDITS,
                "old_path": _PATH,
                "new_path": _PATH,
            },
            "command",
        ),
    ),
}
_DROPPED = ("tool_search_",)
_NOT_HERE = (
    "Tools of the type '{kind}' are run by the API, and nothing here can: let the client run a tool of its "
    "own."
)


def to_tools(request: wire.CountRequest, notices: list[str]) -> tuple[tuple[Tool, ...], ToolChoice]:
    """The tools that the model is offered, and whether it must call one. Adds notices. Raises InvalidRequest
    or UnsupportedParameter."""
    given = []
    for index, tool in enumerate(request.tools or ()):
        found = _function(tool, f"tools.{index}", notices)
        if found is not None:
            given.append((f"tools.{index}", found))
    tools = functions.to_tools(given, notices, longest_name=_LONGEST_NAME)
    return with_few_strict(tools, notices), _choice(request.tool_choice, tools)


def _function(tool: wire.Tool, place: str, notices: list[str]) -> _Function | None:
    kind = tool.type or "custom"
    if kind == "custom":
        if tool.name is None:
            raise InvalidRequest(f"'{place}.name' is missing.", param=f"{place}.name")
        return _Function(tool.name, tool.description, tool.input_schema, tool.strict)
    if kind.startswith(_DROPPED):
        notices.append(f"'{kind[:80]}' was left out: all tools are loaded")
        return None
    dated = _DATED.fullmatch(kind)
    typed = _TYPED.get(dated[1]) if dated else None
    if typed is None:
        raise UnsupportedParameter(_NOT_HERE.format(kind=kind[:80]), param=f"{place}.type")
    notices.append(f"'{kind[:80]}' is offered as a tool of its name and its documented schema")
    return _Function(tool.name or typed.name, typed.description, typed.parameters)


def _choice(choice: wire.ToolChoice | None, tools: tuple[Tool, ...]) -> ToolChoice:
    if choice is None:
        return ToolChoice()
    parallel = not choice.disable_parallel_tool_use or not tools
    if choice.type == "tool":
        check_known([choice.name or ""], tools)
        return ToolChoice("tool", choice.name, parallel)
    if choice.type == "any" and not tools:
        raise InvalidRequest("A tool is required, but there are no 'tools'.", param="tool_choice")
    return ToolChoice(choice.type, None, parallel)
