"""What a turn requires of a worker."""

from __future__ import annotations

from dataclasses import dataclass

from claude_server.core.model import Message
from claude_server.engine.processes.argv import Launch
from claude_server.engine.workers.state import WorkerConfig


@dataclass(frozen=True, slots=True)
class Demand:
    """A turn's requirements of a worker. `launch`: for a process that has to be started for it."""

    config: WorkerConfig
    launch: Launch
    owner: str
    history: tuple[Message, ...] = ()

    @property
    def session(self) -> str | None:
        return self.launch.session.uuid if self.launch.session is not None else None
