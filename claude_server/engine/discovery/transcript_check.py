"""Does a CLI go on with a conversation that it reads from a file? Part of the self-test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claude_server.core.model import Message, ToolResult, ToolUse
from claude_server.engine.processes.argv import Launch
from claude_server.engine.processes.step_runner import StepRunner
from claude_server.engine.protocol.control import conversation
from claude_server.engine.protocol.transcript import Conversation
from claude_server.standin import StandIn

_CALLS = (ToolUse("toolu_selftest1", "a", {"x": "1"}), ToolUse("toolu_selftest2", "b", {}))
_LAST_CALL = ToolUse("toolu_selftest3", "a", {"x": "2"})
_HISTORY = (
    Message("user", ("/selftest one",)),
    Message("assistant", ("selftest two", *_CALLS)),
    Message("user", (*(ToolResult(call.id, ("selftest",)) for call in _CALLS), "selftest three")),
    Message("assistant", (_LAST_CALL,)),
)
# What is hardest: calls wait for their results, and nothing of that may be answered by the CLI.
_QUESTION = Message("user", (ToolResult(_LAST_CALL.id, ("selftest four",)),))
LAUNCH = Launch(conversation=Conversation.before(_QUESTION, _HISTORY, ""))


async def goes_on(runner: StepRunner, api: StandIn, limit: float) -> bool:
    """Ask in a process that was started by `LAUNCH`. Does the API get the conversation as if the process had
    been told of it, and nothing else? Raises TurnError."""
    await runner.run(conversation((), _QUESTION), limit)
    if len(api.turns) != 1:
        return False
    asked = api.last
    texts = [("user", " /selftest one"), ("assistant", "selftest two"), ("user", "selftest three")]
    others = [block for message in asked.messages for block in message["content"] if _is_of_tools(block)]
    seen = [block.get("id") or block.get("tool_use_id") for block in others]
    calls = [call.id for call in _CALLS]
    results = [block.get("content") for block in others if block["type"] == "tool_result"]
    said = [[{"type": "text", "text": text}] for text in ("selftest", "selftest", "selftest four")]
    last = [_LAST_CALL.id] * 2
    return asked.conversation == texts and seen == [*calls, *calls, *last] and results == said


def _is_of_tools(block: str | Mapping[str, Any]) -> bool:
    return isinstance(block, Mapping) and block["type"] in ("tool_use", "tool_result")
