"""Which connection makes room for another."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from claude_server.http.guard.connections import one_too_many


@dataclass(eq=False)
class Made:
    address: str = "a"
    known: bool = False
    idle_since: float | None = 0.0


def test_there_is_room() -> None:
    present = [Made(str(number % 2)) for number in range(10)]
    assert one_too_many(present, present[-1], 10) is None


@pytest.mark.parametrize(
    ("others", "gone"),
    [
        ([Made(idle_since=2.0), Made(idle_since=1.0), Made(idle_since=3.0)], 1),
        ([Made(idle_since=1.0, known=True), Made(idle_since=2.0), Made(idle_since=3.0)], 1),
        ([Made(idle_since=None), Made(idle_since=2.0, known=True), Made(idle_since=None)], 1),
        ([Made(idle_since=None), Made(idle_since=None), Made(idle_since=None)], 3),
    ],
)
def test_a_stranger_goes_first_then_the_longest_idle(others: list[Made], gone: int) -> None:
    present = [*others, Made(idle_since=9.0)]
    assert one_too_many(present, present[-1], 6) is present[gone]


def test_a_crowd_makes_room_for_itself() -> None:
    crowd = [Made("crowd", idle_since=float(number)) for number in range(5, 10)]
    other = Made("other", idle_since=1.0)
    # Its own address has its half.
    assert one_too_many([other, *crowd], crowd[-1], 8) is crowd[0]
    # A newcomer takes from those who have the most.
    new = Made("new", idle_since=9.0)
    assert one_too_many([other, *crowd[:4], new], new, 5) in crowd


def test_nobody_is_idle() -> None:
    busy = [Made(str(number), idle_since=None) for number in range(3)]
    new = Made("new", idle_since=1.0)
    assert one_too_many([*busy, new], new, 3) is new
