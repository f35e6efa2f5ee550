"""When what goes wrong. Pure: a seed gives the same faults at the same times."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """`at`: seconds from the start. `lasts`: seconds; 0 for what happens at once, None for ever. `luck`: from
    0 to 1, chooses whom it hits and how."""

    at: float
    kind: str
    lasts: float | None
    luck: float


@dataclass(frozen=True)
class Rate:
    """One each `every` seconds, and one at least; lasting between `shortest` and `longest` seconds."""

    every: float
    shortest: float = 0.0
    longest: float = 0.0
    for_ever: float = 0.0


RATES: Mapping[str, Rate] = {
    "kill a process": Rate(3.0),
    # Half of them stay stopped: the server has to find out.
    "stop a process": Rate(8.0, 0.2, 3.0, for_ever=0.5),
    "babble a little": Rate(4.0),
    "babble a lot": Rate(10.0),
    "tear a line": Rate(10.0),
    # Each time the server tries out what it finds, for some seconds.
    "swap the binary": Rate(60.0),
    "no binary": Rate(60.0, 0.5, 2.0),
    "disk full": Rate(30.0, 2.0, 5.0),
    "API overloaded": Rate(30.0, 0.5, 2.0),
    "API silent": Rate(60.0, 0.5, 2.0),
}


def schedule(seed: str, seconds: float, rates: Mapping[str, Rate] = RATES) -> Sequence[Fault]:
    """All faults of a run of so many seconds, in order of time."""
    faults = []
    for kind, rate in rates.items():
        rng = random.Random(f"{seed} {kind}")
        count = max(1, round(seconds / rate.every))
        for number in range(count):
            lasts: float | None = rng.uniform(rate.shortest, rate.longest)
            if rng.random() < rate.for_ever:
                lasts = None
            at = (number + rng.random()) * seconds / count
            faults.append(Fault(at, kind, lasts, rng.random()))
    return sorted(faults, key=lambda fault: fault.at)
