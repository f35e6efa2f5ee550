"""What a process that waits has cost so far: asked for, since no result tells it. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

# "get_usage" is exact. With a login it reads all conversations of the last week (0.4 to 1.5 s for 120 MB), so
# there "get_session_cost" is asked for: a sentence with some digits, "Total cost:  $0.0016".
CostRequest = Literal["get_usage", "get_session_cost"]
_COST = re.compile(r"cost:\s+\$([0-9,]*\.?[0-9]+)")


def total_cost(answer: Mapping[str, Any]) -> float | None:
    """The process's total in USD from its answer; None if it isn't told."""
    session = answer.get("session")
    total = session.get("total_cost_usd") if isinstance(session, dict) else None
    if isinstance(total, int | float):
        return float(total)
    found = _COST.search(str(answer.get("text") or ""))
    return float(found[1].replace(",", "")) if found else None
