"""The door of Anthropic's Messages API. Pure."""

from __future__ import annotations

from claude_server.dialects.base import Around, Counting, Dialect, Models, Needs, Prepared
from claude_server.dialects.messages import models, shown, wire
from claude_server.dialects.messages.errors import STATUSES, MessagesErrorBody, error_body
from claude_server.dialects.messages.parameters import RULES
from claude_server.dialects.messages.presenter import MessagesPresenter
from claude_server.dialects.messages.request import check_length, to_turn, user_hash


def needs(request: wire.CountRequest) -> Needs:
    """A message brings all that it needs. Raises InvalidRequest for one that is too long."""
    check_length(request)
    return Needs()


def prepare(request: wire.CountRequest, around: Around) -> Prepared:
    """A request as one turn. Raises InvalidRequest or UnsupportedParameter with `param`."""
    turn, ignored = to_turn(request, around)
    presenter = MessagesPresenter(turn.id, shows_thinking=turn.shows_thinking)
    return Prepared((turn,), presenter, ignored, user_hash(request))


def counted(tokens: int) -> bytes:
    """The answer to a count."""
    return shown.TokensCount(input_tokens=tokens).model_dump_json().encode()


MESSAGES = Dialect(
    name="messages",
    path="/v1/messages",
    purpose="Answer, as Anthropic's Messages API does. With `stream` the answer comes as server-sent events.",
    request=wire.MessagesRequest,
    answer=shown.Message,
    error_body=MessagesErrorBody,
    needs=needs,
    prepare=prepare,
    error=error_body,
    header="anthropic-version",
    id_header="request-id",
    statuses=STATUSES,
    rules=RULES,
    aliases=("/v1/v1/messages",),
    counting=Counting("/count_tokens", wire.CountRequest, shown.TokensCount, counted),
    models=Models(models.page, models.one),
)
