"""A dialect that nobody speaks, with all that chat leaves to others: named events that are counted, a ping of
its own, an end of its own, another shape of errors, a status of its own, and a header that tells it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, Field

from claude_server.core.errors import InvalidRequest
from claude_server.core.model import Message, TextDelta, TurnDone, TurnEvent, TurnRequest
from claude_server.dialects.base import (
    Around,
    Dialect,
    Failure,
    Needs,
    Prepared,
    ServerEvent,
    TurnBody,
)
from claude_server.dialects.model_names import chosen


class ToyRequest(TurnBody):
    questions: Annotated[list[str], Field(min_length=1)]
    pictures: tuple[str, ...] = ()


class ToyAnswer(BaseModel):
    toys: list[str]


class ToyError(BaseModel):
    oops: str
    request: str


class ToyPresenter:
    def __init__(self) -> None:
        self._count = 0

    def whole(self, answers: Sequence[Sequence[TurnEvent]]) -> bytes:
        texts = ["".join(e.text for e in events if isinstance(e, TextDelta)) for events in answers]
        return ToyAnswer(toys=texts).model_dump_json().encode()

    def events(self, index: int, event: TurnEvent) -> Iterator[ServerEvent]:
        if isinstance(event, TextDelta):
            yield self._event("toy.text", text=event.text, of=index)
        elif isinstance(event, TurnDone):
            yield self._event("toy.done", of=index)

    def end(self) -> Iterator[ServerEvent]:
        yield self._event("toy.end")

    def failed(self, failure: Failure) -> Iterator[ServerEvent]:
        yield self._event("toy.oops", code=failure.code)

    def ping(self) -> ServerEvent:
        return self._event("toy.ping")

    def _event(self, name: str, **fields: Any) -> ServerEvent:
        self._count += 1
        return ServerEvent(json.dumps({"number": self._count, **fields}).encode(), name)


def needs(request: ToyRequest) -> Needs:
    return Needs(dict.fromkeys(request.pictures, "pictures"))


def prepare(request: ToyRequest, around: Around) -> Prepared:
    if "" in request.questions:
        raise InvalidRequest("A question is empty.", param="questions")
    turns = tuple(
        TurnRequest(
            f"toy-{around.id}-{index}",
            Message("user", (question, *around.images.values())),
            model=chosen(request.model, around.policy.default_model),
            owner=around.owner,
            buffered=not request.stream,
        )
        for index, question in enumerate(request.questions)
    )
    return Prepared(turns, ToyPresenter(), ignored=("colour",), facts={"toys": len(turns)})


def error(failure: Failure) -> bytes:
    return ToyError(oops=failure.code, request=failure.request_id).model_dump_json().encode()


TOY = Dialect(
    name="toy",
    path="/v1/toys",
    purpose="Play.",
    request=ToyRequest,
    answer=ToyAnswer,
    error_body=ToyError,
    needs=needs,
    prepare=prepare,
    error=error,
    header="toy-version",
    id_header="toy-request-id",
    statuses={"overloaded": 529},
)
