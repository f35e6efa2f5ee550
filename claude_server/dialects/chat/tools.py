"""Tools, the choice among them, and the form of the answer. Pure."""

from __future__ import annotations

from claude_server.core.answer_format import AnswerFormat
from claude_server.core.errors import InvalidRequest
from claude_server.core.model import Tool, ToolChoice
from claude_server.dialects import functions
from claude_server.dialects.chat import wire as chat
from claude_server.dialects.functions import check_known, choice_by_word, with_few_strict


def to_tools(request: chat.ChatRequest) -> tuple[tuple[Tool, ...], ToolChoice, tuple[str, ...]]:
    """The tools that the model is offered, whether it must call one, and notices. Raises InvalidRequest."""
    if request.tools:
        given = [(f"tools[{i}].function", tool.function) for i, tool in enumerate(request.tools)]
    else:
        given = [(f"functions[{i}]", function) for i, function in enumerate(request.functions or ())]
    notices: list[str] = []
    offered, choice = _chosen(request, functions.to_tools(given, notices))
    return with_few_strict(offered, notices), choice, tuple(notices)


def _chosen(request: chat.ChatRequest, tools: tuple[Tool, ...]) -> tuple[tuple[Tool, ...], ToolChoice]:
    legacy = not request.tools
    choice = request.function_call if legacy and request.tool_choice is None else request.tool_choice
    parallel = not legacy and request.parallel_tool_calls is not False
    if isinstance(choice, chat.AllowedToolsChoice):
        allowed = [named.function.name for named in choice.allowed_tools.tools]
        check_known(allowed, tools)
        names = frozenset(allowed)
        tools = tuple(tool for tool in tools if tool.name in names)
        return tools, choice_by_word(choice.allowed_tools.mode, tools, parallel)
    if isinstance(choice, chat.NamedTool | chat.Named):
        name = choice.name if isinstance(choice, chat.Named) else choice.function.name
        check_known([name], tools)
        return tools, ToolChoice("tool", name, parallel)
    return tools, choice_by_word(choice or "auto", tools, parallel)


def to_answer_format(request: chat.ChatRequest) -> AnswerFormat | None:
    """The form that the answer must have; None: any. Raises InvalidRequest."""
    form = request.response_format
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        return AnswerFormat()
    if form.json_schema is None:
        raise InvalidRequest("'response_format' needs 'json_schema'.", param="response_format.json_schema")
    return functions.answer_format(form.json_schema.schema_, "response_format.json_schema.schema")
