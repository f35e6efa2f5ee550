"""Can a CLI be made to count a conversation? Part of the self-test."""

from __future__ import annotations

from claude_server.core.model import Message, ToolResult, ToolUse
from claude_server.engine.processes.step_runner import StepRunner
from claude_server.engine.protocol.counting import counted, counting_steps
from claude_server.standin import StandIn

_PATH = "/v1/messages/count_tokens"
_MODELS = ("claude-selftest-2", "claude-selftest-3")


async def counts_tokens(runner: StepRunner, api: StandIn, limit: float) -> bool:
    """Count a short and a long conversation, each with a model of its own. Does the API count them whole, and
    is the difference the API's? Was the model asked for nothing? Raises TurnError."""
    told, at_api = [], []
    for model, text in zip(_MODELS, ("selftest", "selftest " * 100), strict=True):
        api.clear()
        call, result = (
            ToolUse("toolu_selftest", "selftest", {"x": text}),
            ToolResult("toolu_selftest", (text,)),
        )
        said = [Message("user", (text,)), Message("assistant", (call,)), Message("user", (result,))]
        (*_, answer) = await runner.run(counting_steps(said, model), limit)
        told.append(counted(answer))
        asked = [request for request in api.requests if request.path == _PATH and request.model == model]
        whole = [request for request in asked if request.raw.count(text.strip().encode()) >= len(said)]
        if len(whole) != 1 or api.turns:
            return False
        at_api.append(len(whole[0].raw))
    return told[1] - told[0] > (at_api[1] - at_api[0]) // 8
