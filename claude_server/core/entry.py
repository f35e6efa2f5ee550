"""What is kept for clients that name it later. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that is kept for a client: a response; a conversation; items that were put into one;
    or the events of a response's stream, a list in `output`.

    `body`: JSON of a response without its output, or a conversation's metadata. `input` and `output`: JSON
    lists of items; `item_ids`: their ids. `previous`: the response that this one follows on, `conversation`:
    the one that it is part of; "" for none. Times are seconds since the epoch; age counts from `used_at`.
    """

    owner: str
    id: str
    kind: Literal["response", "conversation", "items", "events"]
    created_at: float
    used_at: float
    previous: str = ""
    conversation: str = ""
    item_ids: tuple[str, ...] = ()
    body: str = "{}"
    input: str = "[]"
    output: str = "[]"
