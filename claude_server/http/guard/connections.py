"""How many connections there may be, and which one makes room for another."""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Collection
from typing import Protocol, TypeVar

# However many descriptors there are: each connection takes memory too.
_MOST = 4096


class Connection(Protocol):
    """`address`: the client's. `known`: it has shown a key, or needs none. `idle_since`: when it began to
    wait for a request, in seconds of the loop's clock; None while one is at work."""

    address: str
    known: bool
    idle_since: float | None


_C = TypeVar("_C", bound=Connection)


def most_connections() -> int:
    """Half of the descriptors that this process may open: the other half is for processes and files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(_MOST, soft // 2) if soft != resource.RLIM_INFINITY else _MOST


def one_too_many(present: Collection[_C], new: _C, most: int) -> _C | None:
    """The connection to close, now that `new` has come; None while there is room. It is `new` itself where no
    other one is idle.

    An address may have half of the room. The first to go is one that showed no key, then the longest idle.
    """
    alike = [each for each in present if each.address == new.address]
    if len(alike) > max(1, most // 2):
        rivals = alike
    elif len(present) > most:
        # Of the address that has the most, so that a crowd makes room for itself.
        (crowd, _), *_ = Counter(each.address for each in present if each.idle_since is not None).most_common(
            1
        )
        rivals = [each for each in present if each.address == crowd]
    else:
        return None
    idle = [(each.known, each.idle_since, number) for number, each in enumerate(rivals) if _may_go(each, new)]
    return rivals[min(idle)[2]] if idle else new


def _may_go(each: Connection, new: Connection) -> bool:
    return each is not new and each.idle_since is not None
