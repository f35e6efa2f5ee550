"""What a turn requires of a worker."""

from __future__ import annotations

from dataclasses import dataclass

from claude_server.core.model import Message, ToolResult
from claude_server.engine.processes.argv import Launch
from claude_server.engine.workers.state import WorkerConfig

_NO_QUESTION = Message("user", ())


@dataclass(frozen=True, slots=True)
class Demand:
    """A turn's requirements of a worker. `launch`: for a process that has to be started for it.
    `wants_thinking`: what the request says of thinking, apart from what the model can do."""

    config: WorkerConfig
    launch: Launch
    owner: str
    history: tuple[Message, ...] = ()
    question: Message = _NO_QUESTION
    wants_thinking: bool = True

    @property
    def answered_calls(self) -> tuple[str, ...]:
        """The ids of the calls whose results the question brings."""
        return tuple(block.id for block in self.question.blocks if isinstance(block, ToolResult))

    @property
    def session(self) -> str | None:
        return self.launch.session.uuid if self.launch.session is not None else None
