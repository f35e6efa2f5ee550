"""Whether a message, its stream and its errors are what Anthropic's SDKs and the libraries on them need.

Each rule is one whose breach made a client fail, or believe half an answer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

_KEYS = {"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"}
_COUNTS = {"input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"}
_REASONS = {
    *("end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal", "model_context_window_exceeded")
}
_BLOCKS = {
    "text": {"text"},
    "thinking": {"thinking", "signature"},
    "redacted_thinking": {"data"},
    "tool_use": {"id", "name", "input"},
}
_DELTAS = {
    "text_delta": ("text", "text"),
    "citations_delta": ("text", "citation"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("thinking", "signature"),
    "input_json_delta": ("tool_use", "partial_json"),
}
_ERRORS = {
    *("invalid_request_error", "authentication_error", "billing_error", "permission_error", "api_error"),
    *("not_found_error", "conflict_error", "request_too_large", "rate_limit_error", "timeout_error"),
    "overloaded_error",
}


def _counts(usage: Any) -> list[str]:
    given = usage if isinstance(usage, dict) else {}
    return [f"usage has no {name}" for name in _COUNTS if not isinstance(given.get(name), int)]


def _block(block: dict[str, Any]) -> list[str]:
    wanted = _BLOCKS.get(block.get("type", ""))
    if wanted is None:
        return [f"a block of the unknown kind {block.get('type')!r}"]
    extra = block.keys() - wanted - {"type", "citations"}
    return (
        [f"a {block['type']} without {wanted - block.keys()}, with {extra}"]
        if (extra or not wanted <= block.keys())
        else []
    )


def message(raw: bytes | str) -> list[str]:
    """What is wrong with a whole answer."""
    value = json.loads(raw)
    if value.keys() - {"x_claude"} != _KEYS:
        return [f"a message of the fields {sorted(value)}"]
    found = _counts(value["usage"])
    for block in value["content"]:
        found += _block(block)
    if (value["type"], value["role"]) != ("message", "assistant") or value["stop_reason"] not in _REASONS:
        found.append(f"{value['type']}, {value['role']}, {value['stop_reason']}")
    called = any(block["type"] == "tool_use" for block in value["content"])
    if value["stop_reason"] == "tool_use" and not called:
        found.append("tool_use without a call")
    if (value["stop_sequence"] is not None) != (value["stop_reason"] == "stop_sequence"):
        found.append("stop_sequence and stop_reason don't fit")
    return found


def error_body(raw: bytes | str) -> list[str]:
    """What is wrong with an error."""
    value = json.loads(raw)
    error = value.get("error", {})
    good = value.get("type") == "error" and error.get("type") in _ERRORS and error.get("message")
    return [] if good and "request_id" in value else [f"no error of Anthropic's: {value}"]


def count(raw: bytes | str) -> list[str]:
    """What is wrong with a count."""
    value = json.loads(raw)
    return [] if value.keys() == {"input_tokens"} and value["input_tokens"] > 0 else [f"no count: {value}"]


def models(raw: bytes | str, *, one: bool) -> list[str]:
    """What is wrong with a list of models, or with one of it."""
    value = json.loads(raw)
    if not one and value.keys() != {"data", "has_more", "first_id", "last_id"}:
        return [f"no page of models: {sorted(value)}"]
    keys = {"type", "id", "display_name", "created_at", "lifecycle"}
    given = [value] if one else value["data"]
    return [f"no model: {model}" for model in given if model.keys() != keys or model["type"] != "model"]


@dataclass
class StreamChecker:
    """Follows a stream event by event. `complaints`: what is wrong with it."""

    complaints: list[str] = field(default_factory=list)
    _rest: bytes = b""
    _kinds: list[str] = field(default_factory=list)
    _open: str | None = None
    _index: int = 0

    def feed(self, data: bytes) -> None:
        *events, self._rest = (self._rest + data).split(b"\n\n")
        for event in events:
            lines = [line for line in event.split(b"\n") if line and not line.startswith(b":")]
            if lines:
                self._event(lines)

    def end(self) -> None:
        last = self._kinds[-1] if self._kinds else "nothing"
        if self._rest.strip() or last not in ("message_stop", "error"):
            self.complaints.append(f"the stream ends with {last}, and {self._rest!r}")

    def _event(self, lines: list[bytes]) -> None:
        if len(lines) != 2 or not (lines[0].startswith(b"event: ") and lines[1].startswith(b"data: ")):
            self.complaints.append(f"no event with a name and data: {lines}")
            return
        value = json.loads(lines[1][6:])
        kind = value["type"]
        if lines[0][7:].decode() != kind:
            self.complaints.append(f"{lines[0]!r} of the type {kind}")
        self.complaints += self._check(kind, value)
        if kind != "ping":
            self._kinds.append(kind)

    def _check(self, kind: str, value: dict[str, Any]) -> list[str]:
        if kind == "ping":
            return []
        if kind == "error":
            return error_body(json.dumps(value))
        if kind == "message_start":
            begun = value["message"]
            good = begun.keys() == _KEYS and begun["content"] == [] and not self._kinds
            return _counts(begun["usage"]) + ([] if good else [f"no beginning: {begun}, {self._kinds}"])
        if not self._kinds or self._kinds[-1] in ("message_stop", "error"):
            return [f"{kind} outside of a message"]
        if kind == "message_delta":
            good = self._open is None and value["delta"].get("stop_reason") in _REASONS
            return _counts(value.get("usage")) + ([] if good else [f"{value} in {self._open}"])
        if kind == "message_stop":
            return [] if self._kinds[-1] == "message_delta" else [f"message_stop after {self._kinds[-1]}"]
        return self._part(kind, value)

    def _part(self, kind: str, value: dict[str, Any]) -> list[str]:
        if value.get("index") != self._index:
            return [f"{kind} has the index {value.get('index')}, not {self._index}"]
        if kind == "content_block_start":
            before, self._open = self._open, value["content_block"]["type"]
            return _block(value["content_block"]) + ([f"a block inside of a {before}"] if before else [])
        if kind == "content_block_stop":
            before, self._open = self._open, None
            self._index += 1
            return [] if before else ["a stop without a start"]
        if kind != "content_block_delta":
            return [f"an event of the unknown kind {kind}"]
        block, name = _DELTAS.get(value["delta"]["type"], ("", ""))
        return [] if block == self._open and name in value["delta"] else [f"{value} in {self._open}"]
