"""What the log line of a request says of its turns."""

from __future__ import annotations

from claude_server.core.errors import TurnError
from claude_server.core.model import TurnRequest
from claude_server.core.ports import TurnEnd
from claude_server.telemetry.requests import current_fields


class TurnLog:
    """A TurnObserver. A request may have several answers: their numbers are added up."""

    def started(self, turn: TurnRequest) -> None:
        """Without numbers there is nothing to say."""

    def retried(self, turn: TurnRequest, error: TurnError, delay: float) -> None:
        """The end counts them."""

    def ended(self, turn: TurnRequest, end: TurnEnd) -> None:
        """Note the numbers of an answer; what a failure is called, the routes note."""
        done, fields = end.done, current_fields()
        if done is None or fields is None:
            return
        counts = {
            "prompt_tokens": done.usage.prompt_tokens,
            "cached_tokens": done.usage.cache_read_tokens,
            "completion_tokens": done.usage.output_tokens,
            "retries": done.retries,
            "cost_usd": done.cost_usd or 0.0,
        }
        fields.update({name: round(fields.get(name, 0) + count, 6) for name, count in counts.items()})
        fields.update(outcome="ok", answered_by=done.model)
