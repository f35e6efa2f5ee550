"""Whether a response is what the openai SDK's own types say, strictly, and its stream what OpenAI sends.

Beside the types: what the specification of Open Responses requires of fields and of the order of events.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter, ValidationError

from tests import conformance

# OpenAI itself sends some that its types don't have: `store`, the status of a custom call, a call's name.
conformance.OURS["ResponseFunctionCallArgumentsDoneEvent"] = {"name"}
conformance.OURS["ResponseCustomToolCall"] = {"status"}
# A tool comes back as it was sent; Codex is newer than the SDK.
conformance.OURS["WebSearchTool"] = {"search_content_types"}
conformance.OURS["Response"] = {"x_claude", "store", "presence_penalty", "frequency_penalty"}
_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
_TERMINAL = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")
# Always there, and never null.
_NEVER_NULL = (
    *("id", "object", "created_at", "status", "model", "output", "tools", "tool_choice", "truncation"),
    *("parallel_tool_calls", "text", "top_p", "temperature", "presence_penalty", "frequency_penalty"),
    *("top_logprobs", "store", "background", "service_tier", "metadata"),
)
# Always there.
_MAY_BE_NULL = (
    *("completed_at", "error", "incomplete_details", "instructions", "previous_response_id", "reasoning"),
    *("usage", "max_output_tokens", "max_tool_calls", "safety_identifier", "prompt_cache_key"),
)
_TOOL_KEYS = ("type", "name", "description", "parameters", "strict")
_ENDED = ("completed", "incomplete")


def response(raw: bytes | str) -> list[str]:
    """What is wrong with a response."""
    _, found = conformance._read(Response, raw)
    return found or _fields(json.loads(raw))


def _fields(value: dict[str, Any]) -> list[str]:
    found = [f"'{name}' is missing or null" for name in _NEVER_NULL if value.get(name) is None]
    found += [f"'{name}' is missing" for name in _MAY_BE_NULL if name not in value]
    for tool in value["tools"]:
        if tool["type"] == "function":
            found += [f"a tool has no '{name}'" for name in _TOOL_KEYS if name not in tool]
    ended = value["status"] in _ENDED
    if ended != (value["usage"] is not None):
        found.append(f"usage and status {value['status']}")
    if ended and (value["completed_at"] is None or not value["output"]):
        found.append("an ended response without its time or output")
    if (value["incomplete_details"] is not None) != (value["status"] == "incomplete"):
        found.append("incomplete_details and status don't fit")
    if (value["error"] is not None) != (value["status"] == "failed"):
        found.append("error and status don't fit")
    return found


@dataclass
class StreamChecker:
    """Fed with the bytes of a stream as they come; `complaints` tells what is wrong with them. `first`: the
    number that the first event must have."""

    first: int = 0
    complaints: list[str] = field(default_factory=list)
    _rest: bytes = b""
    _next: int | None = None
    _id: str | None = None
    _over: str | None = None
    _done: list[dict[str, Any]] = field(default_factory=list)
    _open: dict[str, Any] | None = None
    _text: str = ""

    def feed(self, data: bytes) -> None:
        """Bytes, cut anywhere."""
        *blocks, self._rest = (self._rest + data).split(b"\n\n")
        for block in blocks:
            self._block(block.decode())

    def end(self) -> None:
        """The body has come to its proper end."""
        if self._rest or self._over != "[DONE]":
            self._complain(f"the stream ends after {self._over} with {self._rest!r}")

    def _complain(self, text: str) -> None:
        self.complaints.append(text)

    def _block(self, block: str) -> None:
        while block.startswith(":"):
            _, _, block = block.partition("\n")
        if block == "data: [DONE]":
            if self._over not in _TERMINAL:
                self._complain(f"[DONE] after {self._over}")
            self._over = "[DONE]"
            return
        name, newline, data = block.partition("\n")
        if not (name.startswith("event: ") and newline and data.startswith("data: ")) or "\n" in data:
            self._complain(f"not an event of two lines: {block!r}")
            return
        event = json.loads(data.removeprefix("data: "))
        if name.removeprefix("event: ") != event["type"] or self._over is not None:
            self._complain(f"{name} with {event['type']} after {self._over}")
        self._numbered(event)
        if event["type"] != "keepalive":
            self._typed(event)
            self._ordered(event)

    def _numbered(self, event: dict[str, Any]) -> None:
        expected = self.first if self._next is None else self._next
        if event["sequence_number"] != expected:
            self._complain(f"number {event['sequence_number']} where {expected} is next")
        self._next = event["sequence_number"] + 1

    def _typed(self, event: dict[str, Any]) -> None:
        try:
            value = _EVENT.validate_json(json.dumps(event), strict=True)
        except ValidationError as error:
            self._complain(f"{error} in {event}")
            return
        for place, name in conformance._unknown(value):
            self._complain(f"{place} has an unknown field {name!r}")

    def _ordered(self, event: dict[str, Any]) -> None:
        kind = event["type"].removeprefix("response.")
        if "response" in event:
            self._whole(event["type"], event["response"])
            return
        if event["output_index"] != len(self._done):
            self._complain(f"{kind} has output_index {event['output_index']} after {len(self._done)} items")
        if kind == "output_item.added":
            if self._open is not None:
                self._complain("an item begins before the one before is done")
            self._open, self._text = event["item"], ""
            return
        if self._open is None or event.get("item_id", event.get("item", {}).get("id")) != self._open["id"]:
            self._complain(f"{kind} is not about the open item {self._open}")
        elif kind.endswith(".delta"):
            self._text += event["delta"]
        elif kind.endswith((".text.done", "_text.done", "arguments.done", "input.done", "refusal.done")):
            said = next(event[key] for key in ("text", "arguments", "input", "refusal") if key in event)
            if said != self._text and (said, self._text) != ("{}", ""):
                self._complain(f"{kind} says {said!r} after {self._text!r}")
        elif kind == "output_item.done":
            self._done.append(event["item"])
            self._open = None

    def _whole(self, kind: str, shown: dict[str, Any]) -> None:
        self.complaints += response(json.dumps(shown))
        if self._id is None and self.first == 0 and kind not in ("response.created",):
            self._complain(f"{kind} comes first")
        self._id = self._id or shown["id"]
        if shown["id"] != self._id:
            self._complain(f"response {shown['id']} after {self._id}")
        if kind in _TERMINAL:
            self._over = kind
            whole = self.first == 0 and shown["status"] in _ENDED
            if whole and (shown["output"] != self._done or self._open is not None):
                self._complain(f"the output {shown['output']} differs from the items {self._done}")
        elif shown["output"]:
            self._complain(f"{kind} has output")
