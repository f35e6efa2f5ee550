"""The deadlines of an attempt, on a loop whose time the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from claude_server.core.errors import TurnTimeout
from claude_server.core.watchdog import Deadlines, Watchdog


class Clock(asyncio.SelectorEventLoop):
    """An event loop that is at `now` seconds."""

    now = 100.0

    def time(self) -> float:
        return self.now

    def pass_to(self, moment: float) -> None:
        """Let the timers up to `moment` (seconds from the start) fire."""
        self.now = 100.0 + moment
        self.call_soon(self.stop)
        self.run_forever()


class Watched:
    def __init__(self, clock: Clock, deadlines: Deadlines) -> None:
        self.expired: list[str] = []
        self.progressed_at = 100.0

        async def make() -> Watchdog:
            return Watchdog(deadlines, self._expire, lambda: self.progressed_at)

        self.dog = clock.run_until_complete(make())

    def _expire(self, error: TurnTimeout) -> None:
        self.expired.append(error.message)


@pytest.fixture
def clock() -> Iterator[Clock]:
    loop = Clock()
    yield loop
    loop.close()


FIRST = "The claude CLI sent no event within 5 s (CLAUDE_FIRST_EVENT_TIMEOUT)."
IDLE = "The claude CLI was silent for 8 s (CLAUDE_IDLE_TIMEOUT)."
WHOLE = "The attempt took longer than 30 s (CLAUDE_TIMEOUT)."
NORMAL = Deadlines(attempt=30, first_event=5, idle=8)


def test_no_first_event(clock: Clock) -> None:
    watched = Watched(clock, NORMAL)
    clock.pass_to(4.9)
    assert watched.expired == []
    clock.pass_to(5)
    assert watched.expired == [FIRST]


def test_progress_starts_the_first_events_deadline_anew(clock: Clock) -> None:
    """Counted from the progress, not from when it was looked at; within the whole limit."""
    watched = Watched(clock, NORMAL)
    for second in (3, 7, 11):
        watched.progressed_at = 100.0 + second
        clock.pass_to(second + 4.9)
    assert watched.expired == []
    clock.pass_to(16)
    assert watched.expired == [FIRST]


def test_progress_does_not_outlast_the_whole_limit(clock: Clock) -> None:
    watched = Watched(clock, NORMAL)
    for second in range(1, 30):
        watched.progressed_at = 100.0 + second
        clock.pass_to(second)
    clock.pass_to(30)
    assert watched.expired == [WHOLE]


def test_progress_before_an_event_does_not_count_after_it(clock: Clock) -> None:
    watched = Watched(clock, NORMAL)
    clock.pass_to(4)
    watched.dog.touch()
    watched.progressed_at = 111.0
    clock.pass_to(12)
    assert watched.expired == [IDLE]


def test_silence_after_an_event(clock: Clock) -> None:
    watched = Watched(clock, NORMAL)
    clock.pass_to(4)
    watched.dog.touch()
    clock.pass_to(5)
    clock.pass_to(11.9)
    assert watched.expired == []
    clock.pass_to(12)
    assert watched.expired == [IDLE]


def test_events_keep_an_attempt_alive_to_its_whole_limit(clock: Clock) -> None:
    watched = Watched(clock, NORMAL)
    for second in range(1, 30):
        clock.pass_to(second)
        watched.dog.touch()
    assert watched.expired == []
    clock.pass_to(30)
    assert watched.expired == [WHOLE]


def test_a_whole_limit_below_the_others(clock: Clock) -> None:
    watched = Watched(clock, Deadlines(attempt=3, first_event=5, idle=8))
    clock.pass_to(3)
    assert watched.expired == ["The attempt took longer than 3 s (CLAUDE_TIMEOUT)."]


def test_an_idle_limit_shorter_than_the_first_events(clock: Clock) -> None:
    watched = Watched(clock, Deadlines(attempt=300, first_event=60, idle=2.5))
    clock.pass_to(1)
    watched.dog.touch()
    clock.pass_to(3.4)
    assert watched.expired == []
    clock.pass_to(3.5)
    assert watched.expired == ["The claude CLI was silent for 2.5 s (CLAUDE_IDLE_TIMEOUT)."]


def test_while_paused_silence_does_not_count(clock: Clock) -> None:
    """While a slow client takes its time, the CLI isn't silent."""
    watched = Watched(clock, NORMAL)
    clock.pass_to(4)
    watched.dog.touch()
    watched.dog.pause()
    clock.pass_to(12)
    clock.pass_to(25)
    assert watched.expired == []
    watched.dog.touch()
    clock.pass_to(29.9)
    assert watched.expired == []
    clock.pass_to(30)
    assert watched.expired == [WHOLE]


def test_after_a_pause_silence_counts_again(clock: Clock) -> None:
    watched = Watched(clock, NORMAL)
    watched.dog.pause()
    clock.pass_to(10)
    watched.dog.touch()
    clock.pass_to(17.9)
    assert watched.expired == []
    clock.pass_to(18)
    assert watched.expired == [IDLE]


def test_a_pause_before_the_first_event(clock: Clock) -> None:
    watched = Watched(clock, NORMAL)
    watched.dog.pause()
    clock.pass_to(29.9)
    assert watched.expired == []
    clock.pass_to(30)
    assert watched.expired == [WHOLE]


def test_it_expires_once(clock: Clock) -> None:
    watched = Watched(clock, NORMAL)
    clock.pass_to(5)
    watched.dog.touch()
    clock.pass_to(100)
    assert watched.expired == [FIRST]


def test_a_stopped_one_says_nothing(clock: Clock) -> None:
    watched = Watched(clock, NORMAL)
    watched.dog.touch()
    watched.dog.stop()
    clock.pass_to(100)
    assert watched.expired == []
    watched.dog.stop()
