"""Tools as the model is offered them, by which names it knows them, and the choice among them. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from claude_server.core.answer_format import AnswerFormat
from claude_server.core.errors import InvalidRequest, UnsupportedParameter
from claude_server.core.model import Tool, ToolChoice
from claude_server.dialects import functions
from claude_server.dialects.functions import check_known, choice_by_word, with_few_strict
from claude_server.dialects.responses import wire

_MAX_NAME = 64
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_-]")
_DIGEST = 8
# What the model writes for a custom tool: its text under this name.
INPUT = "input"
_INPUT_SCHEMA = {
    "type": "object",
    "properties": {INPUT: {"type": "string"}},
    "required": [INPUT],
    "additionalProperties": False,
}
_INPUT_HINT = f"The whole input is one text, given as '{INPUT}'."
_GRAMMAR = "The text must conform to this grammar ({syntax}):\n{definition}"


@dataclass(frozen=True, slots=True)
class Named:
    """A tool as the client knows it."""

    name: str
    namespace: str | None = None
    custom: bool = False


@dataclass(frozen=True, slots=True)
class _Function:
    """A `functions.FunctionLike`."""

    name: str
    description: str | None
    parameters: dict[str, Any] | None
    strict: bool | None


@dataclass(frozen=True, slots=True)
class Offer:
    """The tools of a request. `names`: what each of the model's names means to the client. `left_out`: the
    kinds of the tools that the model isn't offered."""

    tools: tuple[Tool, ...]
    names: Mapping[str, Named]
    choice: ToolChoice
    left_out: tuple[str, ...]
    notices: tuple[str, ...]


def to_offer(request: wire.ResponsesRequest, more: Iterable[tuple[str, wire.Tool]]) -> Offer:
    """The tools of a request and `more` that its items bring, with their places. Raises InvalidRequest or
    UnsupportedParameter."""
    given = [*((f"tools[{index}]", tool) for index, tool in enumerate(request.tools or ())), *more]
    left_out: dict[str, None] = {}
    named: list[tuple[str, Named, _Function]] = []
    for place, namespace, tool in _flat(given):
        if isinstance(tool, wire.FunctionTool):
            name = Named(tool.name, namespace)
            function = _Function(tool.name, tool.description, tool.parameters, tool.strict)
        elif isinstance(tool, wire.CustomTool):
            name = Named(tool.name, namespace, custom=True)
            function = _Function(tool.name, _custom_description(tool), dict(_INPUT_SCHEMA), None)
        else:
            left_out[tool.type] = None
            continue
        named.append((place, name, function))
    names, offered = _with_unique_names(named)
    notices: list[str] = []
    tools = functions.to_tools(offered, notices)
    tools, choice = _chosen(request, tools, names)
    return Offer(with_few_strict(tools, notices), names, choice, tuple(left_out), tuple(notices))


_Leaf = wire.FunctionTool | wire.CustomTool | wire.HostedTool


def _flat(given: Iterable[tuple[str, wire.Tool]]) -> Iterator[tuple[str, str | None, _Leaf]]:
    """(place, namespace, tool). A tool that comes again takes the place of the one before."""
    found: dict[tuple[str | None, str], tuple[str, str | None, _Leaf]] = {}
    for place, tool in given:
        inner: list[tuple[str, str | None, _Leaf]]
        if isinstance(tool, wire.NamespaceTool):
            inner = [(f"{place}.tools[{n}]", tool.name, each) for n, each in enumerate(tool.tools or ())]
        else:
            inner = [(place, None, tool)]
        for at, namespace, each in inner:
            own = getattr(each, "name", None)
            key = (namespace, own if isinstance(own, str) else f"\0{at}")
            before = found.get(key)
            if before is not None and before[0].startswith("tools[") and at.startswith("tools["):
                raise InvalidRequest(f"There are two tools named '{key[1]}'.", param=f"{at}.name")
            found[key] = (at, namespace, each)
    yield from found.values()


def _with_unique_names(
    named: Sequence[tuple[str, Named, _Function]],
) -> tuple[dict[str, Named], list[tuple[str, functions.FunctionLike]]]:
    """The tools under names that are the API's: those of namespaces give way."""
    names: dict[str, Named] = {name.name: name for _, name, _ in named if name.namespace is None}
    offered: list[tuple[str, functions.FunctionLike]] = []
    for place, name, function in named:
        ours = name.name
        if name.namespace is not None:
            ours = flat_name(name.namespace, name.name)
            if ours in names:
                ours = _digested(f"{name.namespace}__{name.name}", name.namespace, name.name)
            names[ours] = name
        described = _Function(ours, function.description, function.parameters, function.strict)
        offered.append((place, described))
    return names, offered


def flat_name(namespace: str | None, name: str) -> str:
    """The name by which the model knows a tool of a namespace: 64 characters of the API's at most."""
    if namespace is None:
        return name
    joined = f"{namespace}__{name}"
    if len(joined) <= _MAX_NAME and not _NOT_IN_A_NAME.search(joined):
        return joined
    return _digested(joined, namespace, name)


def _digested(joined: str, namespace: str, name: str) -> str:
    digest = hashlib.sha256(f"{namespace}\n{name}".encode()).hexdigest()[:_DIGEST]
    return f"{_NOT_IN_A_NAME.sub('_', joined)[: _MAX_NAME - _DIGEST - 1]}_{digest}"


def _custom_description(tool: wire.CustomTool) -> str:
    texts = [tool.description or "", _INPUT_HINT]
    form = tool.format
    if form is not None and form.definition:
        texts.append(_GRAMMAR.format(syntax=form.syntax or "lark", definition=form.definition))
    return "\n\n".join(text for text in texts if text)


def _chosen(
    request: wire.ResponsesRequest, tools: tuple[Tool, ...], names: Mapping[str, Named]
) -> tuple[tuple[Tool, ...], ToolChoice]:
    choice = request.tool_choice
    parallel = request.parallel_tool_calls is not False
    if not isinstance(choice, wire.NamedChoice):
        return tools, choice_by_word(choice or "auto", tools, parallel)
    # A choice names no namespace: a tool outside of them goes first.
    ordered = sorted(names.items(), key=lambda entry: entry[1].namespace is None)
    ours = {each.name: name for name, each in ordered}
    if choice.type == "allowed_tools":
        own = [each for each in choice.tools or () if each.type in ("function", "custom")]
        allowed = [ours.get(each.name or "", each.name or "") for each in own]
        check_known(allowed, tools)
        kept = tuple(tool for tool in tools if tool.name in frozenset(allowed))
        return kept, choice_by_word(choice.mode or "auto", kept, parallel)
    if choice.type not in ("function", "custom"):
        raise UnsupportedParameter(
            f"The tool '{choice.type[:80]}' can't be had here: it is OpenAI's own. Name a function.",
            param="tool_choice",
        )
    name = ours.get(choice.name or "", choice.name or "")
    check_known([name], tools)
    return tools, ToolChoice("tool", name, parallel)


def to_answer_format(request: wire.ResponsesRequest) -> AnswerFormat | None:
    """The form that the answer must have; None: any. Raises InvalidRequest."""
    form = request.text.format if request.text is not None else None
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        return AnswerFormat()
    return functions.answer_format(form.schema_, "text.format.schema")
