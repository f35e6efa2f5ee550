"""Presents a turn as a response: its JSON, and its server-sent events. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from claude_server.core.entry import Entry
from claude_server.core.model import TurnDone, TurnEvent
from claude_server.dialects.base import Failure, ServerEvent
from claude_server.dialects.responses.memory import Fields, ids
from claude_server.dialects.responses.output import Output
from claude_server.dialects.responses.shown import Response, ResponseError, usage
from claude_server.dialects.x_claude import end_of, x_claude

_DONE = ServerEvent(b"[DONE]")
# Pings in a row, which come every 15 s. Codex gives up a stream after 300 s without an event, and some older
# clients know no event of this kind: so most of the pings are comments.
_PINGS_TO_KEEPALIVE = 16
_INVALID_PROMPT = "invalid_prompt"
# Codes that clients know, by ours; Codex asks again after the others.
_CODES = {
    "context_length_exceeded": "context_length_exceeded",
    "invalid_request_error": _INVALID_PROMPT,
    "unsupported_parameter": _INVALID_PROMPT,
    "request_too_large": _INVALID_PROMPT,
    "account_problem": "insufficient_quota",
}


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept beside the answer: whose it is, and the request's own items."""

    owner: str
    items: Sequence[Fields]


class ResponsePresenter:
    """A `base.Presenter` and `base.Keeper`. `response` is the answer before anything of it is known; `output`
    makes its items.

    Each event has its number. An answer ends with a terminal event that has the whole of it.
    """

    def __init__(self, response: Response, output: Output, kept: Kept) -> None:
        self._response = response
        self._output = output
        self._kept = kept
        self._notices: tuple[str, ...] = ()
        self._number = 0
        self._pings = 0
        self._begun = False
        self._end: TurnDone | None = None

    def whole(self, answers: Sequence[Sequence[TurnEvent]]) -> bytes:
        (events,) = answers
        if self._end is None:
            for event in events:
                for _ in self._output.feed(event):
                    pass
            self._end = end_of(events)
        return self._finished(self._end).model_dump_json().encode()

    def events(self, index: int, event: TurnEvent) -> Iterator[ServerEvent]:
        self._pings = 0
        yield from self._beginning()
        for kind, fields in self._output.feed(event):
            yield self._event(kind, fields)
        if isinstance(event, TurnDone):
            self._end = event

    def end(self) -> Iterator[ServerEvent]:
        assert self._end is not None
        last = self._finished(self._end)
        yield self._event(f"response.{last.status}", {"response": last.model_dump()})
        yield _DONE

    def failed(self, failure: Failure) -> Iterator[ServerEvent]:
        """`response.failed`: the one event that all clients take for a failure."""
        yield from self._beginning()
        code = _CODES.get(failure.code, "server_error")
        if failure.status == 429:
            code = "rate_limit_exceeded" if failure.retry else "insufficient_quota"
        error = ResponseError(code=code, message=failure.message)
        yield from self._broken_off({"status": "failed", "error": error})

    def cancelled(self) -> Iterator[ServerEvent]:
        yield from self._beginning()
        yield from self._broken_off({"status": "cancelled"})

    def _broken_off(self, update: dict[str, Any]) -> Iterator[ServerEvent]:
        last = self._response = self._response.model_copy(
            update={**update, "output": self._output.open_items}
        )
        # There is no event of the name of "cancelled": some clients fail at one that they don't know.
        yield self._event("response.failed", {"response": last.model_dump()})
        yield _DONE

    def begin(self) -> Iterator[ServerEvent]:
        self._response = self._response.model_copy(update={"status": "queued"})
        shown = {"response": self._response.model_dump()}
        yield self._event("response.created", shown)
        yield self._event("response.queued", shown)

    def now(self) -> bytes:
        return self._response.model_dump_json().encode()

    def entry(self) -> Entry:
        whole = self._response if self._end is None else self._finished(self._end)
        items = [self._with_thought(item) for item in whole.output]
        conversation = "" if whole.conversation is None else whole.conversation["id"]
        return Entry(
            self._kept.owner,
            whole.id,
            "response" if whole.store else "items",
            created_at=whole.created_at,
            used_at=whole.created_at,
            previous=whole.previous_response_id or "",
            conversation=conversation,
            item_ids=ids([*self._kept.items, *items]),
            body=whole.model_copy(update={"output": []}).model_dump_json(),
            input=json.dumps(self._kept.items),
            output=json.dumps(items),
        )

    def not_kept(self, why: str) -> None:
        self._response = self._response.model_copy(update={"store": False})
        self._notices = (f"the response is not kept: {why}",)

    def _with_thought(self, item: Fields) -> Fields:
        thought = self._output.thoughts.get(item["id"])
        return item if thought is None else {**item, "encrypted_content": thought}

    def ping(self) -> ServerEvent | None:
        self._pings += 1
        if not self._begun or self._pings % _PINGS_TO_KEEPALIVE:
            return None
        return self._event("keepalive", {})

    def _beginning(self) -> Iterator[ServerEvent]:
        if self._begun:
            return
        self._begun = True
        if self._number == 0:
            yield self._event("response.created", {"response": self._response.model_dump()})
        self._response = self._response.model_copy(update={"status": "in_progress"})
        yield self._event("response.in_progress", {"response": self._response.model_dump()})

    def _finished(self, end: TurnDone) -> Response:
        incomplete = self._output.incomplete
        return Response.model_validate(
            {
                **self._response.model_dump(),
                "status": "completed" if incomplete is None else "incomplete",
                "completed_at": self._response.created_at + round(end.duration_ms / 1000),
                "incomplete_details": None if incomplete is None else {"reason": incomplete},
                "output": self._output.items,
                "usage": usage(end.usage),
                "x_claude": x_claude([replace(end, notices=(*end.notices, *self._notices))]),
            }
        )

    def _event(self, kind: str, fields: dict[str, Any]) -> ServerEvent:
        data = json.dumps({"type": kind, "sequence_number": self._number, **fields}, ensure_ascii=False)
        self._number += 1
        return ServerEvent(data.encode(), kind)
