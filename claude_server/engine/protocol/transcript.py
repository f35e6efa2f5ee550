"""A conversation as the transcript of a session, which a process reads at its start. Pure.

To tell a process of earlier messages takes milliseconds for each; to read them all takes it little longer
than to start. The rows are those of the CLI's own transcripts, with the fields that it needs.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from claude_server.core.model import Message, ToolResult
from claude_server.engine.protocol import frames
from claude_server.engine.protocol.frames import Frame


@dataclass(frozen=True, slots=True, eq=False)
class Conversation:
    """Earlier messages, from the first one of the user to the last one of the assistant.

    `results`: those of the calls in the last message. The question brings them too; but a call without one is
    dropped by older CLIs, and answered by newer ones. `model`: the id of the model in use, which earlier
    thoughts are for. `last_id`: the UUID of the last message's row, where a process goes on.
    """

    messages: tuple[Message, ...]
    results: tuple[ToolResult, ...] = ()
    model: str = ""
    last_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @classmethod
    def before(cls, question: Message, history: tuple[Message, ...], model: str) -> Conversation:
        """The conversation that `question` goes on with."""
        results = tuple(block for block in question.blocks if isinstance(block, ToolResult))
        return cls(history, results, model)


def transcript(conversation: Conversation, written_at: str) -> bytes:
    """The transcript as NDJSON. `written_at`: ISO 8601 in UTC; without it older CLIs find no conversation."""
    return frames.encode(_rows(conversation, written_at))


def _rows(conversation: Conversation, written_at: str) -> Iterator[Frame]:
    parent: str | None = None
    last = len(conversation.messages) - 1
    for index, message in enumerate(conversation.messages):
        if message.role == "user":
            frame = frames.user(message.blocks)
        else:
            frame = frames.assistant(message.blocks, conversation.model)
        name = conversation.last_id if index == last else str(frame["uuid"])
        yield _row(frame, parent, name, written_at)
        parent = name
    if conversation.results:
        frame = frames.user(conversation.results)
        yield _row(frame, parent, str(frame["uuid"]), written_at)


def _row(frame: Frame, parent: str | None, name: str, written_at: str) -> Frame:
    return {
        "type": frame["type"],
        "uuid": name,
        "parentUuid": parent,
        "timestamp": written_at,
        "message": frame["message"],
    }
