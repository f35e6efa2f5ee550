"""What reached the stand-in: one frozen `ApiRequest` each, in a bounded log that threads can wait on."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from claude_server.standin.caching import Usage

__all__ = ["ApiRequest", "RequestLog"]

# How an answer can end; PENDING until then.
PENDING = "pending"
COMPLETE = "complete"
ERROR = "error"
CUT = "cut"
CLIENT_LEFT = "client_left"
STOPPED = "stopped"

KEEP_BYTES = 512 * 1024 * 1024

# Texts that the CLI adds by itself, as whole blocks: context it injects and, on newer versions, what it
# says about its surroundings.
_INJECTED = re.compile(r"\s*(<system-reminder>.*</system-reminder>|# Environment\n.*)\s*", re.DOTALL)
_LOCAL_DATE = re.compile(r"\s*(Today's date is|The date has changed)[^\n]*\s*")


@dataclass
class _Outcome:
    """The part of a request that is known only later."""

    outcome: str = PENDING
    usage: Usage = field(default_factory=Usage)
    cache_hit: str = ""


@dataclass(frozen=True)
class ApiRequest:
    """One request as it arrived.

    number: 1 for the first since the start; it goes on counting after `clear()`.
    at: when its body was complete, in seconds of time.monotonic().
    headers: lower-case names; the values that carry a key are masked ("***").
    raw: the body's bytes. body: the same as parsed JSON, {} if it isn't a JSON object.
    """

    number: int
    at: float
    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    raw: bytes = field(default=b"", repr=False)
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    _result: _Outcome = field(default_factory=_Outcome, repr=False, compare=False)

    @property
    def is_turn(self) -> bool:
        """Whether it asks the model for an answer."""
        return self.method == "POST" and self.path == "/v1/messages"

    @property
    def outcome(self) -> str:
        """pending, complete, error (an API error was sent), cut, client_left or stopped (the stand-in)."""
        return self._result.outcome

    @property
    def usage(self) -> Usage:
        """The input tokens that were reported to the client."""
        return self._result.usage

    @property
    def cache_hit(self) -> str:
        """The last block that was read from the prompt cache, as "system.1" or "messages.2.content.0"; ""
        if nothing was."""
        return self._result.cache_hit

    @property
    def model(self) -> str:
        return str(self.body.get("model", ""))

    @property
    def stream(self) -> bool:
        return bool(self.body.get("stream"))

    @property
    def messages(self) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = self.body.get("messages") or []
        return messages

    @property
    def tools(self) -> list[str]:
        """The names of the tools, in the order of the request."""
        return [str(tool.get("name")) for tool in self.body.get("tools") or ()]

    @property
    def system_texts(self) -> list[str]:
        """The texts of the system prompt's blocks, the CLI's own included."""
        return _texts(self.body.get("system"))

    @property
    def conversation(self) -> list[tuple[str, str]]:
        """(role, text) a message, its text blocks joined, without what the CLI adds by itself.

        Messages that hold nothing else (only injected context, only tool blocks) are left out.
        """
        talk = [(str(m.get("role")), "".join(_own_texts(m.get("content")))) for m in self.messages]
        return [(role, text) for role, text in talk if text]

    @property
    def last_user_text(self) -> str:
        """The last own text block of the last user message that has one, or ""."""
        for message in reversed(self.messages):
            texts = _own_texts(message.get("content")) if message.get("role") == "user" else []
            if texts:
                return texts[-1]
        return ""


def _texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    return [
        str(b.get("text", "")) for b in content or () if isinstance(b, Mapping) and b.get("type") == "text"
    ]


def _own_texts(content: Any) -> list[str]:
    texts = _texts(content)
    return [t for t in texts if t and not _INJECTED.fullmatch(t) and not _LOCAL_DATE.fullmatch(t)]


class RequestLog:
    """The last requests, and a condition that is notified at every arrival and every end.

    keep: how many requests stay. keep_bytes: how many bytes of bodies stay; the newest request always
        does. Both bound a long soak: the counters go on, the oldest requests are dropped.
    """

    def __init__(self, keep: int = 10_000, keep_bytes: int = KEEP_BYTES) -> None:
        self.keep = keep
        self.keep_bytes = keep_bytes
        self.changed = threading.Condition()
        self.requests_seen = 0
        self.turns_seen = 0
        self.bytes_in = 0
        self._turns_cleared = 0
        self._kept: deque[ApiRequest] = deque()
        self._kept_bytes = 0

    def __repr__(self) -> str:
        return f"<RequestLog seen={self.requests_seen} turns={self.turns_seen} kept={len(self._kept)}>"

    def add(
        self, method: str, path: str, query: str, headers: Mapping[str, str], raw: bytes, body: Any
    ) -> ApiRequest:
        with self.changed:
            self.requests_seen += 1
            self.bytes_in += len(raw)
            parsed = body if isinstance(body, dict) else {}
            made = ApiRequest(self.requests_seen, time.monotonic(), method, path, query, headers, raw, parsed)
            self.turns_seen += made.is_turn
            self._kept.append(made)
            self._kept_bytes += len(raw)
            while len(self._kept) > self.keep or (len(self._kept) > 1 and self._kept_bytes > self.keep_bytes):
                self._kept_bytes -= len(self._kept.popleft().raw)
            self.changed.notify_all()
        return made

    def finish(self, request: ApiRequest, outcome: str) -> None:
        with self.changed:
            request._result.outcome = outcome
            self.changed.notify_all()

    def set_usage(self, request: ApiRequest, usage: Usage, cache_hit: str) -> None:
        request._result.usage = usage
        request._result.cache_hit = cache_hit

    def snapshot(self) -> list[ApiRequest]:
        with self.changed:
            return list(self._kept)

    def clear(self) -> None:
        """Forget the requests. The counters stay, and waiting for turns starts at none again."""
        with self.changed:
            self._kept.clear()
            self._kept_bytes = 0
            self._turns_cleared = self.turns_seen

    def turns_since_clear(self) -> int:
        return self.turns_seen - self._turns_cleared

    def wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Block until `condition()` holds, looking again at every arrival and end; False if it never did."""
        with self.changed:
            return self.changed.wait_for(condition, timeout)
