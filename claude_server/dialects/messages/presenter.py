"""Presents a turn as a message: its JSON, and its server-sent events. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from claude_server.core.model import (
    BlockEnded,
    Citation,
    RedactedThinking,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
    TurnDone,
    TurnEvent,
    TurnStarted,
)
from claude_server.dialects.base import Failure, ServerEvent
from claude_server.dialects.messages import shown
from claude_server.dialects.messages.errors import error_body
from claude_server.dialects.x_claude import end_of, x_claude

Item = dict[str, Any]


class MessagesPresenter:
    """A `base.Presenter`. `id`: the answer's. `shows_thinking`: thinking goes out, with its signatures; the
    blocks that do are counted from 0."""

    def __init__(self, id: str, *, shows_thinking: bool) -> None:
        self._id = id
        self._shows_thinking = shows_thinking
        self._index = 0
        # The type of the block that is under way.
        self._open: str | None = None

    def whole(self, answers: Sequence[Sequence[TurnEvent]]) -> bytes:
        (events,) = answers
        end = end_of(events)
        return self._message(_collected(self._blocks(events)), end).model_dump_json().encode()

    def events(self, index: int, event: TurnEvent) -> Iterator[ServerEvent]:
        if isinstance(event, TurnStarted):
            yield _event("message_start", message=self._begun(event))
            yield _event("ping")
        else:
            for kind, fields in self._block_events(event):
                yield _event(kind, **fields)
        if isinstance(event, TurnDone):
            delta = {"stop_reason": shown.stop_reason(event), "stop_sequence": event.stop_sequence}
            usage = shown.usage(event.usage).model_dump()
            told = x_claude([event]).model_dump(mode="json")
            yield _event("message_delta", delta=delta, usage=usage, x_claude=told)

    def end(self) -> Iterator[ServerEvent]:
        yield _event("message_stop")

    def failed(self, failure: Failure) -> Iterator[ServerEvent]:
        """The one event by which all clients know that the answer isn't whole."""
        yield ServerEvent(error_body(failure), "error")

    def ping(self) -> ServerEvent:
        return _event("ping")

    def _begun(self, event: TurnStarted) -> Item:
        counts = shown.usage(event.usage).model_dump()
        return {
            **{"id": self._id, "type": "message", "role": "assistant", "model": event.model, "content": []},
            **{"stop_reason": None, "stop_sequence": None, "usage": counts},
        }

    def _message(self, content: list[Item], end: TurnDone) -> shown.Message:
        return shown.Message(
            id=self._id,
            model=end.model,
            content=content,
            stop_reason=shown.stop_reason(end),
            stop_sequence=end.stop_sequence,
            usage=shown.usage(end.usage),
            x_claude=x_claude([end]),
        )

    # Blocks

    def _blocks(self, events: Sequence[TurnEvent]) -> Iterator[tuple[str, Item]]:
        for event in events:
            yield from self._block_events(event)

    def _block_events(self, event: TurnEvent) -> Iterator[tuple[str, Item]]:
        """What an event of the turn is in terms of blocks: (kind, fields) of each event."""
        if isinstance(event, TextDelta):
            yield from self._started("text", {"text": ""})
            yield self._delta("text_delta", text=event.text)
        elif isinstance(event, Citation):
            yield from self._started("text", {"text": ""})
            yield self._delta("citations_delta", citation=json.loads(event.json))
        elif isinstance(event, ThinkingDelta):
            if self._shows_thinking:
                yield from self._started("thinking", {"thinking": "", "signature": ""})
                yield self._delta("thinking_delta", thinking=event.text)
        elif isinstance(event, ToolCallStarted):
            yield from self._stopped()
            yield from self._started("tool_use", {"id": event.id, "name": event.name, "input": {}})
        elif isinstance(event, ToolCallDelta):
            yield self._delta("input_json_delta", partial_json=event.text)
        elif isinstance(event, BlockEnded):
            yield from self._ended(event)
        elif isinstance(event, TurnDone):
            yield from self._stopped()

    def _ended(self, event: BlockEnded) -> Iterator[tuple[str, Item]]:
        thought = event.thought
        if thought is not None and not self._shows_thinking:
            return
        if isinstance(thought, Thinking):
            yield from self._started("thinking", {"thinking": "", "signature": ""})
            yield self._delta("signature_delta", signature=thought.signature)
        elif isinstance(thought, RedactedThinking):
            yield from self._stopped()
            yield from self._started("redacted_thinking", {"data": thought.data})
        yield from self._stopped()

    def _started(self, kind: str, fields: Item) -> Iterator[tuple[str, Item]]:
        if self._open == kind:
            return
        yield from self._stopped()
        self._open = kind
        block = {"type": kind, **fields}
        yield "content_block_start", {"index": self._index, "content_block": block}

    def _stopped(self) -> Iterator[tuple[str, Item]]:
        if self._open is not None:
            yield "content_block_stop", {"index": self._index}
            self._index += 1
            self._open = None

    def _delta(self, kind: str, **fields: Any) -> tuple[str, Item]:
        return "content_block_delta", {"index": self._index, "delta": {"type": kind, **fields}}


def _collected(events: Iterator[tuple[str, Item]]) -> list[Item]:
    """The blocks of a whole answer, from their events."""
    blocks: list[Item] = []
    arguments: list[str] = []
    texts: list[str] = []
    for kind, fields in events:
        if kind == "content_block_start":
            blocks.append(fields["content_block"])
            arguments, texts = [], []
        elif kind == "content_block_delta":
            delta = fields["delta"]
            arguments += [delta["partial_json"]] if "partial_json" in delta else []
            texts += [delta[name] for name in ("text", "thinking") if name in delta]
            if "signature" in delta:
                blocks[-1]["signature"] = delta["signature"]
            if "citation" in delta:
                blocks[-1].setdefault("citations", []).append(delta["citation"])
        else:
            _close(blocks[-1], "".join(texts), "".join(arguments))
    return blocks


def _close(block: Item, text: str, arguments: str) -> None:
    if block["type"] in ("text", "thinking"):
        block[block["type"]] = text
    elif block["type"] == "tool_use":
        try:
            block["input"] = json.loads(arguments or "{}")
        except ValueError:
            # Cut short, by the limit of tokens: then the API has nothing there either.
            block["input"] = {}


def _event(kind: str, **fields: Any) -> ServerEvent:
    return ServerEvent(json.dumps({"type": kind, **fields}, ensure_ascii=False).encode(), kind)
