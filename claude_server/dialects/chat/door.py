"""The door of OpenAI's chat completions. Pure."""

from __future__ import annotations

from claude_server.core.model import TurnRequest
from claude_server.dialects.base import Around, Dialect, Needs, Prepared
from claude_server.dialects.chat.answer import AnswerContext
from claude_server.dialects.chat.messages import remote_images
from claude_server.dialects.chat.parameters import RULES
from claude_server.dialects.chat.presenter import ChatPresenter
from claude_server.dialects.chat.request import check_length, to_turn
from claude_server.dialects.chat.wire import ChatCompletion, ChatRequest
from claude_server.dialects.openai_errors import ErrorBody, error_body
from claude_server.dialects.users import user_hashes


def needs(request: ChatRequest) -> Needs:
    """What the server has to fetch for a chat. Raises InvalidRequest for one that is too long."""
    check_length(request)
    return Needs(remote_images(request.messages), bool(request.enable_tools), request.session_id)


def prepare(request: ChatRequest, around: Around) -> Prepared:
    """A chat as `n` equal turns. Raises InvalidRequest or UnsupportedParameter with `param`."""
    turn, ignored = to_turn(request, around)
    context = _answer_context(request, turn, around)
    presenter = ChatPresenter(
        context,
        request.metadata,
        include_usage=bool(request.stream_options and request.stream_options.include_usage),
        slice_chars=around.policy.chunk_chars if turn.buffered else None,
    )
    return Prepared(
        turns=(turn,) * context.choices,
        presenter=presenter,
        ignored=ignored,
        facts=user_hashes(request),
    )


def _answer_context(request: ChatRequest, turn: TurnRequest, around: Around) -> AnswerContext:
    return AnswerContext(
        turn.id,
        request.model or "default",
        around.created,
        session_id=turn.session_id,
        reasoning=around.policy.reasoning_field,
        details=around.policy.reasoning_details and around.policy.reasoning_field is not None,
        functions=not request.tools and bool(request.functions),
        structured=turn.answer is not None,
        choices=request.n or 1,
        shows_tools=around.policy.shows_tools,
    )


CHAT = Dialect(
    name="chat",
    path="/v1/chat/completions",
    purpose="Answer a chat. With `stream` the answer comes as server-sent events.",
    request=ChatRequest,
    answer=ChatCompletion,
    error_body=ErrorBody,
    needs=needs,
    prepare=prepare,
    error=error_body,
    rules=RULES,
)
