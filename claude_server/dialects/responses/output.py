"""Makes the items of an answer, and the stream's events about them, of the events of a turn. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from claude_server.core.model import (
    BlockEnded,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
    TurnDone,
    TurnEvent,
)
from claude_server.dialects.responses.thoughts import sealed
from claude_server.dialects.responses.tools import INPUT, Named

Fields = dict[str, Any]
# (type, fields): an event without its type and number.
Event = tuple[str, Fields]
_REFUSED = "The model refused to answer."
_INCOMPLETE = {
    "max_tokens": "max_output_tokens",
    "model_context_window_exceeded": "max_output_tokens",
    "max_turns": "max_output_tokens",
    # An unknown reason may mean that something is missing.
    "other": "max_output_tokens",
}


class Output:
    """The items of one answer, as they come. `items`: those that are done. `thoughts`: for each reasoning
    item's id the thought, signed and opaque; `shows_thoughts`: the items have it too.

    Neighbouring deltas of one kind are one item: a message, thinking, or a call. `stem`: hexadecimal digits,
    for ids. `names`: what the model's names of tools mean to the client. `slice_chars` cuts texts to that
    length (None: as they come).
    """

    def __init__(
        self,
        stem: str,
        names: Mapping[str, Named],
        slice_chars: int | None = None,
        *,
        shows_thoughts: bool = False,
    ) -> None:
        self.items: list[Fields] = []
        self.thoughts: dict[str, str] = {}
        self._shows_thoughts = shows_thoughts
        self.incomplete: str | None = None
        self._stem = stem
        self._names = names
        self._slice = slice_chars
        self._item: Fields | None = None
        self._custom = False
        self._texts: list[str] = []

    def feed(self, event: TurnEvent) -> Iterator[Event]:
        """The stream's events for one event of the turn."""
        if isinstance(event, TextDelta):
            if self._kind != "message":
                yield from self._close()
                yield from self._begin_message()
            yield from self._deltas(event.text)
        elif isinstance(event, ThinkingDelta):
            if self._kind != "reasoning":
                yield from self._close()
                yield from self._begin_reasoning()
            yield from self._deltas(event.text)
        elif isinstance(event, ToolCallStarted):
            yield from self._close()
            yield from self._begin_call(event)
        elif isinstance(event, ToolCallDelta):
            yield from self._deltas(event.text)
        elif isinstance(event, BlockEnded) and event.thought is not None:
            if self._kind != "reasoning":
                yield from self._close()
                yield self._begin(self._reasoning())
            yield from self._close(sealed(event.thought))
        elif isinstance(event, TurnDone):
            yield from self._end(event)

    @property
    def open_items(self) -> list[Fields]:
        """The items that are done, and the one that was begun, incomplete."""
        if self._item is None:
            return self.items
        return [*self.items, {**self._whole(self._item), "status": "incomplete"}]

    @property
    def _kind(self) -> str | None:
        return None if self._item is None else self._item["type"]

    def _begin(self, item: Fields) -> Event:
        self._item = item
        self._texts = []
        return self._added(item)

    def _added(self, item: Fields) -> Event:
        return "response.output_item.added", {"output_index": len(self.items), "item": item}

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{self._stem}{len(self.items):04x}"

    def _begin_message(self) -> Iterator[Event]:
        item = {
            **{"id": self._id("msg"), "type": "message", "status": "in_progress"},
            **{"role": "assistant", "content": []},
        }
        yield self._begin(item)
        yield self._about("content_part.added", content_index=0, part=_text_part(""))

    def _begin_reasoning(self) -> Iterator[Event]:
        yield self._begin(self._reasoning())
        yield self._about("reasoning_summary_part.added", summary_index=0, part=_summary_part(""))

    def _reasoning(self) -> Fields:
        return {"id": self._id("rs"), "type": "reasoning", "status": "in_progress", "summary": []}

    def _begin_call(self, call: ToolCallStarted) -> Iterator[Event]:
        named = self._names.get(call.name) or Named(call.name)
        self._custom = named.custom
        kind, prefix, field = "function_call", "fc", "arguments"
        if named.custom:
            kind, prefix, field = "custom_tool_call", "ctc", INPUT
        item = {"id": self._id(prefix), "type": kind, "status": "in_progress", "call_id": call.id}
        item |= {"name": named.name, field: ""}
        if named.namespace is not None:
            item["namespace"] = named.namespace
        yield self._begin(item)

    def _deltas(self, text: str) -> Iterator[Event]:
        self._texts.append(text)
        size = self._slice or len(text) or 1
        for start in range(0, len(text), size):
            piece = text[start : start + size]
            if self._kind == "message":
                yield self._about("output_text.delta", content_index=0, delta=piece, logprobs=[])
            elif self._kind == "reasoning":
                yield self._about("reasoning_summary_text.delta", summary_index=0, delta=piece)
            elif not self._custom:
                yield self._about("function_call_arguments.delta", delta=piece)

    def _close(self, thought: str | None = None, status: str = "completed") -> Iterator[Event]:
        """Ends the item that is open, if one is. `thought`: the same as the text, signed and opaque."""
        if self._item is None:
            return
        done = {**self._whole(self._item), "status": status}
        if thought is not None:
            self.thoughts[done["id"]] = thought
            if self._shows_thoughts:
                done["encrypted_content"] = thought
        text = "".join(self._texts)
        if self._kind == "message":
            yield self._about("output_text.done", content_index=0, text=text, logprobs=[])
            yield self._about("content_part.done", content_index=0, part=done["content"][0])
        elif self._kind == "reasoning" and not text:
            # The API keeps it to itself.
            done["summary"] = []
        elif self._kind == "reasoning":
            yield self._about("reasoning_summary_text.done", summary_index=0, text=text)
            yield self._about("reasoning_summary_part.done", summary_index=0, part=done["summary"][0])
        elif self._custom:
            yield self._about("custom_tool_call_input.delta", delta=done[INPUT])
            yield self._about("custom_tool_call_input.done", input=done[INPUT])
        else:
            named = {"name": done["name"], "arguments": done["arguments"]}
            yield self._about("function_call_arguments.done", **named)
        yield self._done(done)

    def _done(self, item: Fields) -> Event:
        index = len(self.items)
        self.items.append(item)
        self._item = None
        return "response.output_item.done", {"output_index": index, "item": item}

    def _whole(self, item: Fields) -> Fields:
        text = "".join(self._texts)
        if item["type"] == "message":
            return {**item, "content": [_text_part(text)]}
        if item["type"] == "reasoning":
            return {**item, "summary": [_summary_part(text)]}
        return {**item, INPUT: _input(text)} if self._custom else {**item, "arguments": text or "{}"}

    def _end(self, end: TurnDone) -> Iterator[Event]:
        said = self._kind == "message" or any(item["type"] == "message" for item in self.items)
        if end.stop_reason == "refusal" and said:
            self.incomplete = "content_filter"
        else:
            self.incomplete = _INCOMPLETE.get(end.stop_reason)
        cut = self.incomplete is not None and self._kind in ("message", "reasoning")
        yield from self._close(status="incomplete" if cut else "completed")
        if end.stop_reason == "refusal" and not said:
            yield from self._refusal()
        elif not self.items:
            # Clients look for a message.
            yield from self._begin_message()
            yield from self._close(status="completed" if self.incomplete is None else "incomplete")

    def _refusal(self) -> Iterator[Event]:
        item = {"id": self._id("msg"), "type": "message", "status": "in_progress", "role": "assistant"}
        part = {"type": "refusal", "refusal": ""}
        yield self._begin({**item, "content": []})
        yield self._about("content_part.added", content_index=0, part=part)
        yield self._about("refusal.delta", content_index=0, delta=_REFUSED)
        yield self._about("refusal.done", content_index=0, refusal=_REFUSED)
        part = {**part, "refusal": _REFUSED}
        yield self._about("content_part.done", content_index=0, part=part)
        yield self._done({**item, "status": "completed", "content": [part]})

    def _about(self, what: str, **fields: Any) -> Event:
        """An event about the item that is open."""
        assert self._item is not None
        return f"response.{what}", {
            "item_id": self._item["id"],
            "output_index": len(self.items),
            **fields,
        }


def _text_part(text: str) -> Fields:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _summary_part(text: str) -> Fields:
    return {"type": "summary_text", "text": text}


def _input(arguments: str) -> str:
    """The text that the model gave to a custom tool; what it wrote, if it wrote something else."""
    try:
        value = json.loads(arguments)
    except ValueError:
        return arguments
    given = value.get(INPUT) if isinstance(value, dict) else None
    if not isinstance(given, str):
        return arguments
    # Half a pair of surrogates can't go out.
    return given.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
