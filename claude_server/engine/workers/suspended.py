"""A worker that waits at its calls: what it holds, and whether a request goes on from there. Pure.

An answer that ends in calls leaves its process waiting, with the whole conversation in it and the thoughts of
the model. The request that brings the results of these calls, and nothing else that is new, goes on in it.
Every other request is served as if there were no such worker, and the reason is counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from claude_server.core.model import (
    Block,
    Message,
    Thought,
    Tool,
    ToolResult,
    ToolUse,
)
from claude_server.engine.protocol import results
from claude_server.engine.protocol.waiting import Leave
from claude_server.engine.workers.counters import Fallback
from claude_server.engine.workers.demand import Demand
from claude_server.engine.workers.state import WorkerConfig


@dataclass(frozen=True, slots=True)
class Suspended:
    """What a waiting process holds.

    `said`: the conversation up to the question, as it was given; None for a session's, which is known by its
    mark. `answer`: the message that ends in the calls. `leave`: the process's question for the first of
    them. `config`: the configuration of the turn; `wants_thinking`: what its request said of thinking, apart
    from what the model can do. `longest`: characters of a result that the CLI passes on. `thought`: has the
    model thought since the conversation was injected?
    """

    config: WorkerConfig
    said: tuple[Message, ...] | None
    answer: Message
    leave: Leave
    wants_thinking: bool = True
    longest: int = results.PLAIN_RESULT
    thought: bool = False

    @property
    def calls(self) -> tuple[ToolUse, ...]:
        return tuple(block for block in self.answer.blocks if isinstance(block, ToolUse))

    def goes_on(self, demand: Demand) -> tuple[ToolResult, ...] | Fallback:
        """The results of all the calls in their order, if the demand goes on from here with these alone; else
        why not. Whose it is and which session it belongs to is not looked at."""
        changed = self._changed(demand)
        if changed is not None:
            return changed
        given = {block.id: block for block in demand.question.blocks if isinstance(block, ToolResult)}
        if len(given) < len(demand.question.blocks):
            return Fallback.MORE
        if given.keys() != {call.id for call in self.calls}:
            return Fallback.MISSING
        ordered = tuple(given[call.id] for call in self.calls)
        if any(map(results.is_unfit, ordered)):
            return Fallback.UNFIT
        if any(results.is_too_long(result, self.longest) for result in ordered):
            return Fallback.TOO_LONG
        return ordered

    def _changed(self, demand: Demand) -> Fallback | None:
        ours, theirs = self.config, demand.config
        if ours.model != theirs.model:
            return Fallback.MODEL
        if ours.system != theirs.system:
            return Fallback.SYSTEM
        if [_contract(tool) for tool in ours.tools] != [_contract(tool) for tool in theirs.tools]:
            return Fallback.TOOLS
        if ours.effort != theirs.effort:
            return Fallback.EFFORT
        # Thinking may be off in theirs because it is not at hand: here it is. Not the other way round.
        alike = replace(theirs, thinking=theirs.thinking or ours.thinking, tools=ours.tools)
        if ours != alike or self.wants_thinking != demand.wants_thinking:
            return Fallback.LIMITS
        return None if self.said is None or self._is_history(demand.history) else Fallback.HISTORY

    def _is_history(self, history: Sequence[Message]) -> bool:
        said = self.said or ()
        if len(history) != len(said) + 1:
            return False
        return all(map(_is_same, (*said, self.answer), history))

    def config_with(self, tools: tuple[Tool, ...]) -> WorkerConfig:
        """The configuration to go on with: only descriptions of tools may differ."""
        return replace(self.config, tools=tools)


def _contract(tool: Tool) -> tuple[object, ...]:
    """What of a tool binds a conversation to it; the description doesn't."""
    return tool.name, tool.schema, tool.strict


def _is_same(ours: Message, theirs: Message) -> bool:
    if ours == theirs:
        return True
    # Thoughts are kept by the calls that follow on them: they may be known of one request and not of another.
    return ours.role == theirs.role == "assistant" and _as_said(ours) == _as_said(theirs)


def _as_said(message: Message) -> list[object]:
    """A message without its thoughts, neighbouring texts as one: clients send back what they make of it."""
    parts: list[object] = []
    for block in message.blocks:
        if isinstance(block, Thought):
            continue
        if isinstance(block, str):
            if parts and isinstance(parts[-1], str):
                parts[-1] += block
            else:
                parts.append(block)
            continue
        parts.append(_identity(block))
    # Nobody sends back what can't be seen.
    return [part for part in parts if not isinstance(part, str) or part.strip()]


def _identity(block: Block) -> object:
    return (block.id, block.name, _exact(block.input)) if isinstance(block, ToolUse) else block


def _exact(value: object) -> object:
    """A JSON value so that true isn't 1; the order of keys doesn't count."""
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, Mapping):
        return {key: _exact(item) for key, item in value.items()}
    return [_exact(item) for item in value] if isinstance(value, list) else value
