"""Calls of a session's model, and their results. Pure.

A session's client sends only what is new: results for the calls of the last answer, or none. The API takes a
call only with its result right after it, and a result only after its call.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from claude_server.core.model import ApiBlock, Block, Document, Image, Message, OpenCall, ToolResult, ToolUse

_ORPHAN = "[Result of the tool call {id}] {text}"


@dataclass(frozen=True, slots=True)
class SessionCalls:
    """`open`: the calls that the last answer left without a result. `names`: all tools ever called."""

    open: tuple[OpenCall, ...] = ()
    names: tuple[str, ...] = ()

    def after(self, history: Iterable[Message], calls: tuple[OpenCall, ...]) -> SessionCalls:
        """After a turn that brought `history` along and whose answer made `calls`."""
        came = {block.name for message in history for block in message.blocks if isinstance(block, ToolUse)}
        return SessionCalls(calls, tuple(sorted({*self.names, *came, *(call.name for call in calls)})))

    def to_json(self) -> str:
        """As it is kept in the session's record."""
        return json.dumps([[[call.id, call.name, call.default] for call in self.open], self.names])

    @classmethod
    def from_json(cls, text: str) -> SessionCalls | None:
        """What a record holds; None for a record of a server that didn't note the calls."""
        if not text:
            return None
        calls, names = json.loads(text)
        return cls(tuple(OpenCall(*call) for call in calls), tuple(names))


def orphan(id: str, blocks: Sequence[str | Image | Document | ApiBlock]) -> list[Block]:
    """A result whose call isn't there, as text and media."""
    text = " ".join(block for block in blocks if isinstance(block, str))
    return [_ORPHAN.format(id=id, text=text), *(block for block in blocks if not isinstance(block, str))]


def with_results(message: Message, calls: Sequence[OpenCall]) -> Message:
    """A user message as it can follow `calls`: with a result for each of them, in their order, and no others.

    A result names the call, or its function. One for no call becomes text; a call without one gets its
    default.
    """
    waiting = list(calls)
    given: dict[str, ToolResult] = {}
    rest: list[Block] = []
    for block in message.blocks:
        if not isinstance(block, ToolResult):
            rest.append(block)
            continue
        call = next((call for call in waiting if block.id in _names(call)), None)
        if call is None:
            rest += orphan(block.id, block.blocks)
        else:
            waiting.remove(call)
            given[call.id] = replace(block, id=call.id)
    results = (given.get(call.id) or ToolResult(call.id, (call.default,)) for call in calls)
    return Message(message.role, (*results, *rest))


def paired(messages: Sequence[Message]) -> tuple[Message, ...]:
    """A whole conversation, whose results for calls that aren't in it become text."""
    before: Sequence[Block] = ()
    result = []
    for message in messages:
        if message.role == "user":
            calls = [OpenCall(block.id, block.name) for block in before if isinstance(block, ToolUse)]
            message = with_results(message, calls)
        before = message.blocks
        result.append(message)
    return tuple(result)


def _names(call: OpenCall) -> tuple[str, ...]:
    # The older form of functions has no ids: their results come by the function's name, with or without
    # the call before them.
    return call.id, call.name, f"call_{call.name}"[:64]
