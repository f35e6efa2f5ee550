"""Prompt caching as the Messages API documents it, without any I/O or clock of its own.

The prefix order is tools, system, messages. Every block with a `cache_control` is a breakpoint: the
prefix up to it is written, and a written prefix is looked for at each breakpoint and at the 19 blocks
before it. `cache_control` itself is no part of the content. Entries belong to a model and live for five
minutes (or an hour, `ttl: "1h"`) from their last use.

Source: https://platform.claude.com/docs/en/build-with-claude/prompt-caching
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["CacheControlError", "Lookup", "PromptCache", "Usage", "count_tokens", "estimate_tokens"]

MAX_BREAKPOINTS = 4
LOOK_BACK = 20
CHARS_PER_TOKEN = 4
# The API counts a picture by its size in pixels, which would mean decoding it.
MEDIA_TOKENS = 1_500
_TTLS = {"5m": 300.0, "1h": 3600.0}
# The CLI's billing line differs from one conversation to the next and stands before everything else in
# the system prompt. The API takes it out: otherwise no two conversations could share a cached prefix.
_BILLING = "x-anthropic-billing-header:"


class CacheControlError(ValueError):
    """A use of cache_control that the API answers with a 400; str() is its message."""


@dataclass(frozen=True)
class Usage:
    """The counts of one answer, in tokens. The three input counts add up to the whole prompt."""

    input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    output_tokens: int = 0
    ephemeral_5m_input_tokens: int = 0
    ephemeral_1h_input_tokens: int = 0

    def as_json(self, output_tokens: int) -> dict[str, Any]:
        """The `usage` object of a message (message_start, or a whole reply)."""
        return {
            "input_tokens": self.input_tokens,
            "cache_creation_input_tokens": self.cache_creation_input_tokens,
            "cache_read_input_tokens": self.cache_read_input_tokens,
            "cache_creation": {
                "ephemeral_5m_input_tokens": self.ephemeral_5m_input_tokens,
                "ephemeral_1h_input_tokens": self.ephemeral_1h_input_tokens,
            },
            "output_tokens": output_tokens,
            "service_tier": "standard",
        }


@dataclass(frozen=True)
class Lookup:
    """What was found for a request, and the entries to write once its answer begins.

    hit: the last block that was read from the cache, as "tools.0", "system.1" or "messages.2.content.0"; ""
        if nothing was.
    """

    usage: Usage
    hit: str = ""
    writes: tuple[tuple[bytes, float], ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class _Prefix:
    """The prompt up to and including one block."""

    name: str
    digest: bytes
    chars: int
    ttl: float | None  # seconds, if the block is a breakpoint


def estimate_tokens(chars: int) -> int:
    """About four characters a token, rounded up."""
    return -(-chars // CHARS_PER_TOKEN)


def count_tokens(body: Mapping[str, Any]) -> int:
    """The estimated input tokens of a request body, cached or not."""
    return estimate_tokens(sum(_chars(block) for _, _, block in _blocks(body)))


class PromptCache:
    """The written prefixes of one API. `look_up` first, `store` when the answer begins.

    minimum_tokens: shorter prefixes are neither written nor found. The API has 1024 and more; 0 lets
        small tests see hits.
    max_entries: the least recently used ones go first.
    """

    def __init__(self, minimum_tokens: int = 0, max_entries: int = 100_000) -> None:
        self.minimum_tokens = minimum_tokens
        self.max_entries = max_entries
        self._entries: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<PromptCache entries={len(self._entries)} minimum_tokens={self.minimum_tokens}>"

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        self._entries.clear()

    def look_up(self, body: Mapping[str, Any], now: float) -> Lookup:
        """Count a request against what is written; refreshes what it finds.

        now: seconds of any clock that never goes back. Raises CacheControlError.
        """
        prefixes = list(_prefixes(body))
        if not prefixes:
            return Lookup(Usage())
        total = estimate_tokens(prefixes[-1].chars)
        marks = [i for i, prefix in enumerate(prefixes) if prefix.ttl is not None]
        _check_marks(prefixes, marks)
        usable = [i for i in marks if estimate_tokens(prefixes[i].chars) >= self.minimum_tokens]
        if not usable:
            return Lookup(Usage(input_tokens=total))
        hit = self._find(prefixes, usable, now)
        read = estimate_tokens(prefixes[hit].chars) if hit >= 0 else 0
        last = estimate_tokens(prefixes[usable[-1]].chars)
        hours = [i for i in usable if prefixes[i].ttl == _TTLS["1h"]]
        hour_end = max(read, estimate_tokens(prefixes[hours[-1]].chars)) if hours else read
        usage = Usage(
            input_tokens=total - max(last, read),
            cache_creation_input_tokens=max(last, read) - read,
            cache_read_input_tokens=read,
            ephemeral_5m_input_tokens=max(last, read) - hour_end,
            ephemeral_1h_input_tokens=hour_end - read,
        )
        found = prefixes[hit].name if hit >= 0 else ""
        return Lookup(usage, found, tuple((prefixes[i].digest, prefixes[i].ttl or 0.0) for i in usable))

    def store(self, lookup: Lookup, now: float) -> None:
        """Write the breakpoints of a request; later requests can hit them from now on."""
        for digest, ttl in lookup.writes:
            self._entries[digest] = (now + ttl, ttl)
            self._entries.move_to_end(digest)
        while len(self._entries) > self.max_entries:
            self._entries.popitem(last=False)

    def _find(self, prefixes: list[_Prefix], marks: list[int], now: float) -> int:
        """The index of the longest prefix that is written and within reach of a breakpoint, or -1."""
        for mark in reversed(marks):
            for index in range(mark, max(-1, mark - LOOK_BACK), -1):
                if self._is_live(prefixes[index].digest, now):
                    return index
        return -1

    def _is_live(self, digest: bytes, now: float) -> bool:
        entry = self._entries.get(digest)
        if entry is None:
            return False
        expires, ttl = entry
        if expires <= now:
            del self._entries[digest]
            return False
        self._entries[digest] = (now + ttl, ttl)
        self._entries.move_to_end(digest)
        return True


def _check_marks(prefixes: list[_Prefix], marks: list[int]) -> None:
    if len(marks) > MAX_BREAKPOINTS:
        raise CacheControlError(
            f"A maximum of {MAX_BREAKPOINTS} blocks with cache_control may be provided. Found {len(marks)}."
        )
    ttls = [prefixes[i].ttl or 0.0 for i in marks]
    if ttls != sorted(ttls, reverse=True):
        raise CacheControlError(
            "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block."
        )


def _prefixes(body: Mapping[str, Any]) -> Iterator[_Prefix]:
    """One entry a block, in prefix order. One running hash, so the cost is linear in the prompt."""
    running = hashlib.blake2b(digest_size=16)
    running.update(_canonical(body.get("model")))
    chars = 0
    blocks = list(_blocks(body))
    for number, (name, place, block) in enumerate(blocks, 1):
        running.update(place.encode())
        running.update(_content(block))
        chars += _chars(block)
        ttl = _ttl(block)
        if ttl is None and number == len(blocks):
            # The request's own cache_control is the API's automatic caching: the last block.
            ttl = _ttl(body)
        yield _Prefix(name, running.copy().digest(), chars, ttl)


def _blocks(body: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(name, place, block) for tools, system and messages; strings count as one text block.

    The place is hashed with the block. Settings that make the API drop a part of the cache are worked into
    the place of the first block that comes after them: the output format into the system prompt, thinking
    and tool_choice into the messages.
    """
    for index, tool in enumerate(body.get("tools") or ()):
        yield f"tools.{index}", "\0tool\0", tool
    output_format = (body.get("output_config") or {}).get("format")
    place = f"\0system\0{_text(output_format)}\0" if output_format else "\0system\0"
    for index, block in enumerate(_as_blocks(body.get("system"))):
        if not str(block.get("text", "")).startswith(_BILLING):
            yield f"system.{index}", place, block
    settings = _text([output_format, body.get("thinking"), body.get("tool_choice")])
    for number, message in enumerate(body.get("messages") or ()):
        # Newer CLIs set the effort on a message ("output_config" beside its content).
        beside = {key: item for key, item in message.items() if key not in ("role", "content")}
        place = f"\0message\0{number}\0{message.get('role')}\0{'' if number else settings}\0{_text(beside)}"
        for index, block in enumerate(_as_blocks(message.get("content"))):
            yield f"messages.{number}.content.{index}", place, block


def _as_blocks(content: Any) -> list[Mapping[str, Any]]:
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return list(content)


def _ttl(block: Mapping[str, Any]) -> float | None:
    control = block.get("cache_control")
    if not control:
        return None
    return _TTLS.get(str(control.get("ttl", "5m")), _TTLS["5m"])


def _content(block: Mapping[str, Any]) -> bytes:
    """The bytes that are hashed: everything but the marker."""
    if block.get("type") == "text" and block.keys() <= {"type", "text", "cache_control"}:
        return str(block["text"]).encode("utf-8", "surrogatepass") + b"\0"
    return _canonical(_without_marker(block)) + b"\0"


def _without_marker(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_marker(item) for key, item in value.items() if key != "cache_control"}
    if isinstance(value, list):
        return [_without_marker(item) for item in value]
    return value


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def _canonical(value: Any) -> bytes:
    return _text(value).encode()


def _chars(block: Mapping[str, Any]) -> int:
    """The size of a block in characters of text; pictures and documents have a fixed one."""
    kind = block.get("type")
    if kind == "text":
        return len(str(block.get("text", "")))
    if kind in ("image", "document"):
        return MEDIA_TOKENS * CHARS_PER_TOKEN
    if kind == "tool_result":
        return sum(_chars(inner) for inner in _as_blocks(block.get("content")))
    if kind == "tool_use":
        return len(str(block.get("name", ""))) + len(_text(block.get("input")))
    if kind == "thinking":
        return len(str(block.get("thinking", "")))
    return len(_text(_without_marker(block)))
