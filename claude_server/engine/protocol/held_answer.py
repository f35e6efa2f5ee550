"""An answer as the process holds it, which may end in calls at which the process waits. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from claude_server.core.model import Block, Message, RedactedThinking, Thinking, Thought, ToolUse
from claude_server.engine.protocol.frames import Frame


class HeldAnswer:
    """The blocks of one answer. `waits_at`: names of tools at whose calls the process may wait.
    `needs_thought`: only if the answer began with a thought, as the API would refuse their results."""

    def __init__(self, waits_at: Collection[str] = (), *, needs_thought: bool = False) -> None:
        self._waits_at = waits_at
        self._needs_thought = needs_thought
        self._blocks: list[Block] = []
        self._is_whole = True

    def note(self, content: Sequence[Mapping[str, Any]]) -> None:
        """Blocks that the process says it holds."""
        self._blocks += [_block(block) for block in content]
        self._is_whole = self._is_whole and all(map(_is_known, content))

    def is_answered_by(self, frame: Frame) -> bool:
        """Does a frame of the process's hold a result of one of the calls? Then nobody is waited for."""
        content = frame["message"]["content"]
        results = [b for b in content if b.get("type") == "tool_result"] if isinstance(content, list) else []
        calls = {block.id for block in self._blocks if isinstance(block, ToolUse)}
        found = any(block.get("tool_use_id") in calls for block in results)
        self._is_whole = self._is_whole and not found
        return found

    @property
    def may_wait(self) -> bool:
        """Is each call one at which the process may wait, of a message whose blocks are all known?"""
        calls = [block for block in self._blocks if isinstance(block, ToolUse)]
        if self._needs_thought and not isinstance(self._blocks[0] if self._blocks else None, Thought):
            return False
        return self._is_whole and bool(calls) and all(call.name in self._waits_at for call in calls)

    @property
    def first_call(self) -> str | None:
        """The id of the call that the process asks for first."""
        return next((block.id for block in self._blocks if isinstance(block, ToolUse)), None)

    @property
    def has_thoughts(self) -> bool:
        return any(isinstance(block, Thought) for block in self._blocks)

    @property
    def message(self) -> Message:
        return Message("assistant", tuple(self._blocks))


def _is_known(block: Mapping[str, Any]) -> bool:
    if block["type"] == "tool_use":
        return isinstance(block.get("input"), dict)
    return block["type"] in ("text", "thinking", "redacted_thinking")


def _block(block: Mapping[str, Any]) -> Block:
    """A block in the core's words; one of an unknown type as an empty text."""
    kind = block["type"]
    if kind == "tool_use":
        arguments = block.get("input")
        return ToolUse(block["id"], block["name"], arguments if isinstance(arguments, dict) else {})
    if kind == "thinking":
        return Thinking(block["thinking"], block.get("signature") or "")
    if kind == "redacted_thinking":
        return RedactedThinking(block["data"])
    return str(block["text"]) if kind == "text" else ""
