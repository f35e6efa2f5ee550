"""How a CLI is made to count the tokens of a request: it has the API count what it holds. Pure.

The order of a conversation doesn't change its count, and each message costs milliseconds. So all of them are
put together into three at most: what was said, every call, and every result.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from claude_server.core.errors import CliFailed
from claude_server.core.model import Block, Message, RedactedThinking, Thinking, Tool, ToolResult, ToolUse
from claude_server.engine.protocol import frames
from claude_server.engine.protocol.control import Expect, Step, control
from claude_server.engine.protocol.frames import Frame

# Tokens. A message has some around its text, ...
MESSAGE_TOKENS = 4
# ... a conversation of one word counts as so many, ...
ONE_WORD_TOKENS = 8
# ... and the API tells a model that has tools how to call them (its documentation's number).
TOOLS_TOKENS = 346
ONE_WORD = "foo"
# What the CLI calls the conversation among the parts of its context.
_CONVERSATION = "Messages"


@dataclass(frozen=True, slots=True)
class Countable:
    """A request put together for counting. `more`: tokens that the CLI can't see, of message borders and of
    the API's own words about tools."""

    messages: tuple[Message, ...]
    more: int


def countable(system: str, tools: Sequence[Tool], conversation: Sequence[Message]) -> Countable:
    """The request whose tokens are to be counted. Each call in it has its result."""
    said: list[Block] = [system] if system.strip() else []
    if tools:
        said.append(_as_text(tools))
    blocks = [block for message in conversation for block in message.blocks]
    thoughts = [block for block in blocks if isinstance(block, Thinking | RedactedThinking)]
    calls: dict[str, Block] = {block.id: block for block in blocks if isinstance(block, ToolUse)}
    results: list[Block] = []
    for block in blocks:
        if isinstance(block, ToolResult):
            # Of one whose call isn't here, only the content can be told.
            if block.id in calls:
                results.append(block)
            else:
                said += block.blocks
        elif not isinstance(block, ToolUse | Thinking | RedactedThinking):
            said.append(block)
    messages = [Message("user", tuple(said or [ONE_WORD]))]
    if calls or thoughts:
        # Thoughts alone would be dropped.
        answered = (*thoughts, *(calls.values() or [ONE_WORD]))
        messages += [Message("assistant", answered), Message("user", tuple(results or [ONE_WORD]))]
    borders = MESSAGE_TOKENS * max(0, len(conversation) - len(messages))
    return Countable(tuple(messages), borders + (TOOLS_TOKENS if tools else 0))


def _as_text(tools: Sequence[Tool]) -> str:
    listed = [
        {"name": tool.name, "description": tool.description, "input_schema": json.loads(tool.schema)}
        for tool in tools
    ]
    return json.dumps(listed, separators=(",", ":"), ensure_ascii=False)


def counting_steps(messages: Sequence[Message], model: str | None, resolved_model: str = "") -> list[Step]:
    """The steps that put `messages` in the place of a conversation and ask for their count. Nothing is asked
    of the model. `model`: one to change to, which costs no request this way; None: as it is.
    `resolved_model`: the id of the model in use, whose thoughts they may hold."""
    steps = (
        []
        if model is None
        else [Step((control("apply_flag_settings", settings={"model": model}),), Expect.ACKS)]
    )
    pending: list[Frame] = [frames.boundary()]
    for message in messages:
        if message.role == "assistant":
            pending.append(frames.assistant(message.blocks, resolved_model))
        else:
            steps.append(Step((*pending, frames.user(message.blocks, query=False)), Expect.INJECTED))
            pending = []
    return [*steps, Step((control("get_context_usage"),), Expect.ACKS)]


def counted(answer: Frame) -> int:
    """The tokens of the conversation, from the answer to `get_context_usage`. Raises CliFailed."""
    for part in answer.get("categories") or ():
        if (
            isinstance(part, dict)
            and part.get("name") == _CONVERSATION
            and isinstance(part.get("tokens"), int)
        ):
            return int(part["tokens"])
    raise CliFailed("The claude CLI doesn't tell how many tokens a conversation has.")
