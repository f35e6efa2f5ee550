"""How the work of a function grows with its input."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")
_SMALL = 10_000
_FACTOR = 8
# Linear is 8, quadratic 64; what a busy machine does to short times lies between.
_MOST = 32


def grows_no_faster_than_its_input(
    work: Callable[[_T], object], made: Callable[[int], _T], small: int = _SMALL
) -> None:
    """Compare the processor time for an input of `small` with that for one eight times as large."""
    little, large = made(small), made(small * _FACTOR)
    before, after = (min(_taken(work, each) for _ in range(3)) for each in (little, large))
    # Below this a clock's grain shows, and nobody waits.
    assert after < 0.02 or after < before * _MOST, f"{before:.4f} s became {after:.4f} s"


def _taken(work: Callable[[_T], object], given: _T) -> float:
    began = time.thread_time()
    work(given)
    return time.thread_time() - began
