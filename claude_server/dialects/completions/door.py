"""The door of OpenAI's older completions. Pure."""

from __future__ import annotations

from claude_server.dialects.base import Around, Dialect, Needs, Prepared
from claude_server.dialects.completions import wire
from claude_server.dialects.completions.answer import CompletionPresenter
from claude_server.dialects.completions.parameters import RULES
from claude_server.dialects.completions.request import to_turns
from claude_server.dialects.openai_errors import ErrorBody, error_body
from claude_server.dialects.users import user_hashes


def needs(request: wire.CompletionRequest) -> Needs:
    """Nothing."""
    return Needs()


def prepare(request: wire.CompletionRequest, around: Around) -> Prepared:
    """A turn for each answer. Raises InvalidRequest or UnsupportedParameter with `param`."""
    made = to_turns(request, around)
    base = wire.Completion(
        id=made.turns[0].id, created=around.created, model=request.model or "default", choices=[]
    )
    presenter = CompletionPresenter(
        base,
        made.echoes,
        fills=made.fills,
        include_usage=bool(request.stream_options and request.stream_options.include_usage),
        slice_chars=around.policy.chunk_chars if made.turns[0].buffered else None,
    )
    return Prepared(made.turns, presenter, made.ignored, user_hashes(request))


COMPLETIONS = Dialect(
    name="completions",
    path="/v1/completions",
    purpose="Continue a text, or fill a gap in it. With `stream` it comes as server-sent events.",
    request=wire.CompletionRequest,
    answer=wire.Completion,
    error_body=ErrorBody,
    needs=needs,
    prepare=prepare,
    error=error_body,
    rules=RULES,
)
