"""The door of OpenAI's Responses API. Pure."""

from __future__ import annotations

from typing import Any

from claude_server.dialects.base import Around, Counting, Dialect, Needs, Prepared
from claude_server.dialects.openai_errors import ErrorBody, error_body
from claude_server.dialects.responses import shown, wire
from claude_server.dialects.responses.history import items_of, remote_images
from claude_server.dialects.responses.memory import MEMORY, conversation_id, kept_items
from claude_server.dialects.responses.output import Output
from claude_server.dialects.responses.parameters import RULES
from claude_server.dialects.responses.presenter import Kept, ResponsePresenter
from claude_server.dialects.responses.request import check_length, to_turn
from claude_server.dialects.users import user_hashes

_FORMAT_FIELDS = ("name", "description", "strict")


def needs(request: wire.ResponsesRequest) -> Needs:
    """What the server has to fetch for a request. Raises InvalidRequest for one that is empty or too long."""
    check_length(request)
    return Needs(remote_images(request))


def prepare(request: wire.ResponsesRequest, around: Around) -> Prepared:
    """A request as one turn. Raises InvalidRequest or UnsupportedParameter with `param`."""
    made = to_turn(request, around)
    slices = around.policy.chunk_chars if made.turn.buffered else None
    shows = "reasoning.encrypted_content" in (request.include or ())
    output = Output(around.id, made.names, slices, shows_thoughts=shows)
    begun = _begun(request, made.turn.id, around)
    own = kept_items(items_of(request)[request.before :], around.id)
    presenter = ResponsePresenter(begun, output, Kept(around.owner, own))
    # What is added to a conversation is kept with it.
    keeps = begun.store or begun.conversation is not None
    facts = user_hashes(request)
    return Prepared(
        (made.turn,),
        presenter,
        made.ignored,
        facts,
        keeper=presenter if keeps else None,
        lasting=presenter if begun.background else None,
    )


def _begun(request: wire.ResponsesRequest, id: str, around: Around) -> shown.Response:
    """The response of which nothing is known yet; it says what was asked for."""
    conversation = conversation_id(request)
    return shown.Response(
        id=id,
        created_at=around.created,
        status="in_progress",
        instructions=request.instructions,
        max_output_tokens=request.max_output_tokens,
        model=request.model or "default",
        previous_response_id=request.previous_response_id,
        conversation=None if conversation is None else {"id": conversation},
        background=bool(request.background),
        store=request.store is not False,
        parallel_tool_calls=request.parallel_tool_calls is not False,
        prompt_cache_key=request.prompt_cache_key,
        reasoning=_reasoning(request),
        safety_identifier=request.safety_identifier,
        temperature=1.0 if request.temperature is None else request.temperature,
        text=_text(request),
        tool_choice=_choice(request.tool_choice),
        tools=[_tool(tool) for tool in request.tools or ()],
        top_p=1.0 if request.top_p is None else request.top_p,
        user=request.user,
        metadata=request.metadata or {},
    )


def _reasoning(request: wire.ResponsesRequest) -> shown.ReasoningShown:
    asked = request.reasoning
    if asked is None:
        return shown.ReasoningShown()
    return shown.ReasoningShown(effort=asked.effort, summary=asked.summary or asked.generate_summary)


def _choice(choice: str | wire.NamedChoice | None) -> str | dict[str, Any]:
    return choice.model_dump(exclude_unset=True) if isinstance(choice, wire.NamedChoice) else choice or "auto"


def _text(request: wire.ResponsesRequest) -> shown.TextShown:
    asked = request.text or wire.TextConfig()
    form: dict[str, Any] = {"type": "text"}
    if asked.format is not None and asked.format.type == "json_schema":
        given = asked.format.model_dump(by_alias=True)
        form = {"type": "json_schema", **{name: given.get(name) for name in _FORMAT_FIELDS}}
        form["schema"] = given["schema"]
    elif asked.format is not None:
        form = {"type": asked.format.type}
    return shown.TextShown(format=form, verbosity=asked.verbosity or "medium")


def _tool(tool: wire.Tool) -> dict[str, Any]:
    """A tool as it came; a function with all of its keys, which clients look for."""
    return tool.model_dump(exclude_unset=not isinstance(tool, wire.FunctionTool))


RESPONSES = Dialect(
    name="responses",
    path="/v1/responses",
    purpose="Answer, as OpenAI's Responses API does. With `stream` the answer comes as server-sent events.",
    request=wire.ResponsesRequest,
    answer=shown.Response,
    error_body=ErrorBody,
    needs=needs,
    prepare=prepare,
    error=error_body,
    rules=RULES,
    memory=MEMORY,
    counting=Counting("/input_tokens", wire.ResponsesRequest, shown.InputTokens, shown.counted),
)
