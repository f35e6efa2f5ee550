"""Does a CLI wait at calls, and go on with their results? Part of the self-test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from claude_server.core.model import Message, Tool, ToolResult
from claude_server.engine.processes.step_runner import StepRunner
from claude_server.engine.protocol.control import Dialogue, Expect, Step, conversation
from claude_server.engine.protocol.events import TurnTranslator
from claude_server.engine.protocol.held_answer import HeldAnswer
from claude_server.engine.protocol.mcp import LONGEST_RESULT
from claude_server.engine.protocol.waiting import GivenResults, WaitingCalls
from claude_server.engine.workers import state
from claude_server.engine.workers.state import WorkerConfig, WorkerState
from claude_server.standin import Reply, StandIn, Text, Thinking, ToolUse

_TOOL = Tool("selftest", "selftest", '{"type":"object"}')
_CONFIG = WorkerConfig(tools=(_TOOL,))
_CALLS = ("toolu_selftest_1", "toolu_selftest_2")
_THOUGHT = "selftest thought"


@dataclass(frozen=True, slots=True)
class WaitingCheck:
    """Runs loops of one round on a process that has greeted us. `limit`: seconds for a step. All raise
    TurnError."""

    runner: StepRunner
    api: StandIn
    limit: float

    async def waits(self) -> bool:
        """Two calls, answered in their order once both results are there, and one that failed."""
        results = (
            ToolResult(_CALLS[0], ("selftest one", "two")),
            ToolResult(_CALLS[1], ("selftest",), is_error=True),
        )
        last = await self._round(results)
        told = [block for block in last if block.get("type") == "tool_result"]
        return [(block["tool_use_id"], bool(block.get("is_error"))) for block in told] == [
            (_CALLS[0], False),
            (_CALLS[1], True),
        ] and _texts(told[0]) == ["selftest one", "two"]

    async def keeps_thinking(self) -> bool:
        """Is a thought in front of the calls when the model is asked again?"""
        await self._round((ToolResult(_CALLS[0], ("selftest",)),))
        answers = [m["content"] for m in self.api.last.body["messages"] if m["role"] == "assistant"]
        kinds = [block["type"] for block in answers[-1]]
        return kinds == ["thinking", "text", "tool_use"] and answers[-1][0]["thinking"] == _THOUGHT

    async def large_results(self) -> bool:
        """Does a result of the greatest length come whole?"""
        text = "selftest " * (LONGEST_RESULT // 9)
        (last,) = await self._round((ToolResult(_CALLS[0], (text,)),))
        return _texts(last) == [text]

    async def _round(self, results: Sequence[ToolResult]) -> Sequence[Any]:
        """Have the model call, wait, and give these results; the blocks of the last message that reached the
        API."""
        calls = [ToolUse(_TOOL.name, {"x": "1"}, id=result.id) for result in results]
        self.api.push(Reply(blocks=[Thinking(_THOUGHT), Text("so"), *calls]), Reply.of("selftest end"))
        now = WorkerState(tools_in_body=True)
        setup = Step(tuple(state.setup_frames(now, _CONFIG)), Expect.ACKS)
        asked = WaitingCalls()
        await self._talk([setup, *conversation((), Message("user", ("selftest",)))], asked)
        if asked.leave is None or len(self.api.turns) != 1:
            return ()
        given = GivenResults(asked.leave, results)
        await self._talk([Step((given.first(),), Expect.TURN)], WaitingCalls(given))
        users = [m["content"] for m in self.api.last.body["messages"] if m["role"] == "user"]
        return users[-1] if len(self.api.turns) == 2 and isinstance(users[-1], list) else ()

    async def _talk(self, steps: Sequence[Step], calls: WaitingCalls) -> None:
        translator = TurnTranslator(held=HeldAnswer((_TOOL.name,)))
        listed = WorkerState(tools_in_body=True).listed(_CONFIG)
        await self.runner.talk(Dialogue(steps, translator, listed, calls=calls), self.limit)


def _texts(result: Any) -> list[str]:
    content = result.get("content")
    return [part.get("text", "") for part in content] if isinstance(content, list) else [str(content)]
