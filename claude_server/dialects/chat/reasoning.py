"""Claude's thinking in a chat: as text, and as `reasoning_details`, which can be sent back. Pure.

The details have the shape that clients of OpenRouter know. In a stream their pieces are merged by `index`;
texts are joined, so what is the same in all pieces comes with the first one only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from claude_server.core.model import BlockEnded, RedactedThinking, Thinking, Thought, TurnEvent
from claude_server.dialects.chat import wire as chat

_FORMAT = "anthropic-claude-v1"
# Its beginning: some clients join the pieces of this, too.
_CLAUDE = "anthropic"
_PARTS = frozenset({"thinking", "redacted_thinking"})


def details(events: Iterable[TurnEvent]) -> list[chat.ReasoningDetail] | None:
    """The details of a whole answer; None if there are none."""
    thoughts = [event.thought for event in events if isinstance(event, BlockEnded)]
    told = [thought for thought in thoughts if thought is not None]
    return [_whole(thought, index) for index, thought in enumerate(told)] or None


def _whole(thought: Thought, index: int) -> chat.ReasoningDetail:
    if isinstance(thought, RedactedThinking):
        return chat.ReasoningDetail(
            type="reasoning.encrypted", data=thought.data, format=_FORMAT, index=index
        )
    return chat.ReasoningDetail(
        type="reasoning.text",
        text=thought.text,
        signature=thought.signature,
        format=_FORMAT,
        index=index,
    )


class DetailWriter:
    """The details of one choice in a stream, piece by piece."""

    def __init__(self) -> None:
        self._index = 0
        self._begun = False

    def text(self, piece: str) -> chat.ReasoningDetail:
        """A piece of a thought's text."""
        first = {} if self._begun else {"format": _FORMAT}
        self._begun = True
        return chat.ReasoningDetail(type="reasoning.text", text=piece, index=self._index, **first)

    def ended(self, thought: Thought) -> chat.ReasoningDetail:
        """What is left to say of a thought whose text has been told."""
        whole = _whole(thought, self._index)
        if self._begun and isinstance(thought, Thinking):
            whole = chat.ReasoningDetail(
                type="reasoning.text", signature=thought.signature, index=self._index
            )
        self._index += 1
        self._begun = False
        return whole


def thoughts_of(message: chat.ChatMessage) -> list[Thought]:
    """The thoughts that a client sends back with an assistant's message, as details or as the API's parts.
    What has no signature, or is another maker's, is left out: the API would refuse it."""
    parts = message.content if isinstance(message.content, list) else ()
    found = [thought for part in parts if (thought := _of_part(part)) is not None]
    return found or list(_of_details(message.reasoning_details))


def is_thought(part: chat.ContentPart) -> bool:
    return part.type in _PARTS


def _of_part(part: chat.ContentPart) -> Thought | None:
    fields = part.model_extra or {}
    if part.type == "redacted_thinking":
        return _redacted(fields.get("data"))
    return _signed(fields.get("thinking"), fields.get("signature")) if part.type == "thinking" else None


def _of_details(given: Any) -> Iterator[Thought]:
    """Pieces of one thought follow each other; its signature is in the last one."""
    texts: list[str] = []
    for detail in given if isinstance(given, list) else ():
        if not isinstance(detail, dict) or not _is_claudes(detail.get("format")):
            continue
        if detail.get("type") == "reasoning.encrypted" and (hidden := _redacted(detail.get("data"))):
            yield hidden
        if detail.get("type") != "reasoning.text":
            continue
        text = detail.get("text")
        texts.append(text if isinstance(text, str) else "")
        if (thought := _signed("".join(texts), detail.get("signature"))) is not None:
            texts.clear()
            yield thought


def _is_claudes(format: Any) -> bool:
    return format is None or (isinstance(format, str) and format.startswith(_CLAUDE))


def _signed(text: Any, signature: Any) -> Thinking | None:
    good = isinstance(text, str) and isinstance(signature, str) and signature.strip()
    return Thinking(text, signature) if good else None


def _redacted(data: Any) -> RedactedThinking | None:
    return RedactedThinking(data) if isinstance(data, str) and data.strip() else None
