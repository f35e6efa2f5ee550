"""Lists of items, in pages. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from claude_server.core.errors import InvalidRequest
from claude_server.http.admin.wire.responses import ItemList

Order = Literal["asc", "desc"]


def page(items: Sequence[dict[str, Any]], order: Order, limit: int, after: str | None) -> ItemList:
    """The items behind `after`, the newest first unless `order` is asc. Raises InvalidRequest."""
    ordered = list(items) if order == "asc" else list(reversed(items))
    if after is not None:
        place = next((number for number, item in enumerate(ordered) if item["id"] == after), None)
        if place is None:
            raise InvalidRequest(f"There is no item '{after[:100]}' in this list.", param="after")
        ordered = ordered[place + 1 :]
    shown = ordered[:limit]
    return ItemList(
        data=shown,
        first_id=shown[0]["id"] if shown else None,
        last_id=shown[-1]["id"] if shown else None,
        has_more=len(ordered) > limit,
    )
