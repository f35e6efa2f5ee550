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
from claude_server.engine.protocol.costs import CostRequest
from claude_server.engine.protocol.events import TurnTranslator
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
    def is_over(self) -> bool:
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
        if frame["type"] == "stream_event" and not self.is_over:
            raise ProcessSilent("A claude process went on without the result of a call.")

    def _expect(self, call: str) -> None:
        if not self._to_come or self._to_come[0].id != call:
            raise ProcessSilent("A claude process made another call than the one that waited.")


class WaitingCalls:
    """The calls of one turn that may end in waiting. `given`: the results with which it began, if it goes on
    from calls that waited. `cost_request`: how the process is asked what it has cost."""

    def __init__(self, given: GivenResults | None = None, cost_request: CostRequest = "get_usage") -> None:
        # The last question of the process that nobody has answered.
        self.leave: Leave | None = None
        self._given = given
        self._cost_request = cost_request
        self._cost_id: str | None = None

    @property
    def _giving(self) -> GivenResults | None:
        return self._given if self._given is not None and not self._given.is_over else None

    def asked(self, request_id: str, request: Frame) -> Sequence[Frame]:
        """The process asks leave for a call: what to answer now."""
        leave = Leave.asked(request_id, request)
        if self._giving is not None:
            return (self._giving.leave_asked(leave),)
        # The first of an answer's calls; while it waits the process asks for no other.
        self.leave = leave
        return ()

    def called(self, message: Frame) -> Mapping[str, Any] | None:
        """The JSON-RPC answer to a message of the process's to its MCP server; None: not ours to give."""
        if self._giving is None or message.get("method") != "tools/call":
            return None
        return {"jsonrpc": "2.0", "id": message.get("id", 0), "result": self._giving.called(message)}

    def hears(self, frame: Frame) -> bool:
        """Look at a frame of the turn. Is it about a result that was given?"""
        if self._giving is None:
            return False
        self._giving.said(frame)
        return bool(frame["type"] == "user")

    def settle(self, translator: TurnTranslator) -> Sequence[Frame]:
        """What to write once the answer is complete and its first call waits: then it is asked what all has
        cost, which ends the turn."""
        asked_for_first = self.leave is not None and self.leave.id == translator.held.first_call
        if self._cost_id is not None or not (translator.waiting and translator.said_all and asked_for_first):
            return ()
        self._cost_id = f"cost-{self.leave.request_id}" if self.leave is not None else None
        return (frames.control_request(str(self._cost_id), self._cost_request),)

    def is_cost(self, response: Frame) -> bool:
        """Is this the answer to what was asked at the end?"""
        return bool(response["request_id"] == self._cost_id)
