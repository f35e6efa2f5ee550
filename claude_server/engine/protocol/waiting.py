"""Calls that wait in a process, and how they are answered. No I/O.

Before each call the process asks leave, and waits with the whole conversation in it until it is answered. It
asks for one call at a time, in their order. Once the results are there, leave is given; the call comes to the
MCP server that we are, and is answered with the result; then it asks leave for the next one. After the last
result it asks the model by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from claude_server.core.errors import ProcessSilent
from claude_server.core.model import ToolResult
from claude_server.engine.protocol import frames, results
from claude_server.engine.protocol.frames import Frame


@dataclass(frozen=True, slots=True)
class Leave:
    """The process's question whether it may make the call `id`, which waits for an answer."""

    request_id: str
    id: str
    input: Mapping[str, Any]

    @classmethod
    def asked(cls, request_id: str, request: Frame) -> Leave:
        """Of a control request "can_use_tool"."""
        return cls(request_id, request["tool_use_id"], request["input"])

    def given(self) -> Frame:
        """The answer that lets the process make the call."""
        allowed = {"behavior": "allow", "updatedInput": self.input}
        return frames.control_answer(self.request_id, allowed)


class GivenResults:
    """Answers the calls that wait in a process with the results for them, all of them and in their order.

    `leave`: the question for the first of them. Whatever goes another way raises ProcessSilent: nothing of
    the answer to come may be used then.
    """

    def __init__(self, leave: Leave, given: Sequence[ToolResult]) -> None:
        self._leave = leave
        self._to_come = deque(given)
        self._called = False
        # Not yet seen in the process's conversation.
        self._unseen = {result.id: result for result in given}

    @property
    def over(self) -> bool:
        """Is every result in the process's conversation?"""
        return not self._to_come and not self._unseen

    def first(self) -> Frame:
        """What makes the process go on."""
        self._expect(self._leave.id)
        return self._leave.given()

    def leave_asked(self, leave: Leave) -> Frame:
        """The process asks leave for the next call."""
        self._expect(leave.id)
        return leave.given()

    def called(self, message: Frame) -> Mapping[str, Any]:
        """The result of an MCP message "tools/call"."""
        self._expect(message["params"]["_meta"]["claudecode/toolUseId"])
        return results.told(self._to_come.popleft())

    def said(self, frame: Frame) -> None:
        """A frame of the process on its way to the model's next answer."""
        content = frame["message"]["content"] if frame["type"] == "user" else ()
        for block in content if isinstance(content, list) else ():
            if block.get("type") != "tool_result":
                continue
            result = self._unseen.pop(block.get("tool_use_id"), None)
            if result is None or not results.is_echo(block, result):
                raise ProcessSilent("A claude process changed the result of a call.")
        if frame["type"] == "stream_event" and not self.over:
            raise ProcessSilent("A claude process went on without the result of a call.")

    def _expect(self, call: str) -> None:
        if not self._to_come or self._to_come[0].id != call:
            raise ProcessSilent("A claude process made another call than the one that waited.")
