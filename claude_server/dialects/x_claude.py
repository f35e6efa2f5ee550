"""What the shapes of other APIs have no place for: the field `x_claude` of an answer. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import BaseModel

from claude_server.core.model import TurnDone, TurnEvent

# Decimal digits of a cost in dollars: a token read from the cache costs at least some 1e-8.
_DIGITS = 10


class XClaude(BaseModel):
    """What OpenAI's shape has no place for. `cost_usd` is an estimate: a subscription bills nothing.
    `api_requests`: answers that the API began for this one, more where the CLI asked again by itself."""

    model: str
    cost_usd: float | None
    duration_ms: int
    retries: int
    api_requests: int
    engine: str
    session_id: str | None = None
    session: Literal["created", "resumed", "recreated"] | None = None
    notices: list[str] = []


def x_claude(ends: Sequence[TurnDone], session_id: str | None = None) -> XClaude:
    """What there is to tell of an answer. Of several answers: sums, the longest time, the first model."""
    costs = [end.cost_usd for end in ends if end.cost_usd is not None]
    first = ends[0]
    return XClaude(
        model=first.model,
        cost_usd=dollars(sum(costs)) if len(costs) == len(ends) else None,
        duration_ms=max(end.duration_ms for end in ends),
        retries=sum(end.retries for end in ends),
        api_requests=sum(end.api_requests for end in ends),
        engine=first.engine,
        session_id=session_id,
        session=first.session,
        notices=list(dict.fromkeys(notice for end in ends for notice in end.notices)),
    )


def dollars(amount: float) -> float:
    """Without the noise that sums and differences of floats leave behind the digits that mean something."""
    return round(amount, _DIGITS)


def end_of(events: Iterable[TurnEvent]) -> TurnDone:
    """The end among the events of a whole answer. Raises ValueError if there is none."""
    for event in events:
        if isinstance(event, TurnDone):
            return event
    raise ValueError("a turn without its end")
