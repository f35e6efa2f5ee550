"""What is measured, and how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.bench.load import Limits


@dataclass(frozen=True)
class Cell:
    """One load that every contestant gets. `defaults`: also a process per request as the CLI comes."""

    workload: str
    stream: bool
    clients: int
    defaults: bool = False

    def __str__(self) -> str:
        how = "streamed" if self.stream else "whole"
        return f"{self.workload}, {how}, {self.clients} client{'s' if self.clients > 1 else ''}"


@dataclass(frozen=True)
class Plan:
    """`cells` for the first CLI, `other_cells` for the others. `cold`: limits of a process per request.

    warm_up: turns for each warm process before anything is measured; cold code is a third slower.
    """

    concurrency: int
    rounds: int
    cells: Sequence[Cell]
    other_cells: Sequence[Cell]
    warm: Limits
    cold: Limits
    warm_up: int
    starts: int
    memory_requests: int
    chat_turns: int


def _cells(loads: Sequence[tuple[str, Sequence[bool], Sequence[int]]], defaults: Sequence[int]) -> list[Cell]:
    return [
        Cell(workload, stream, clients, workload == "short" and not stream and clients in defaults)
        for workload, streams, all_clients in loads
        for stream in streams
        for clients in all_clients
    ]


_BOTH = (False, True)

FULL = Plan(
    concurrency=8,
    rounds=3,
    cells=_cells(
        (
            ("short", _BOTH, (1, 4, 8, 16)),
            ("history", (False,), (1, 8)),
            ("history", (True,), (1,)),
            ("held", (False,), (1,)),
            ("large", (False,), (1, 8)),
            ("paced", (True,), (1, 8, 16)),
        ),
        defaults=(1, 8),
    ),
    other_cells=_cells(
        (("short", _BOTH, (1, 8)), ("history", (False,), (1,)), ("held", (False,), (1,))), (8,)
    ),
    warm=Limits(seconds=4.0, requests=20, longest=12.0),
    cold=Limits(seconds=4.0, requests=8, longest=15.0),
    warm_up=25,
    starts=5,
    memory_requests=5000,
    chat_turns=10,
)
QUICK = Plan(
    concurrency=2,
    rounds=1,
    cells=_cells(
        (
            ("short", (False,), (1, 2)),
            ("short", (True,), (1,)),
            ("history", (False,), (1,)),
            ("held", (False,), (1,)),
        ),
        defaults=(2,),
    ),
    other_cells=_cells((("short", (False,), (1, 2)),), ()),
    warm=Limits(seconds=0.6, requests=5, longest=3.0),
    cold=Limits(seconds=0.6, requests=1, longest=3.0),
    warm_up=3,
    starts=1,
    memory_requests=60,
    chat_turns=4,
)
SECTIONS = ("start", "load", "memory", "caching")
