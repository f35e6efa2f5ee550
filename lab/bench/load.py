"""The load generator: clients that ask, wait for the answer, and ask again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from lab.bench.stats import Sample, Slot
from lab.bench.workloads import LoadClient, Turn

# One request, at most; a contestant that hangs must not hang the run.
PATIENCE = 30.0
_AFTER_A_FAILURE = 0.1
# In one slot: more of them measure nothing.
_FAILURES_ALLOWED = 5


@dataclass(frozen=True)
class Answer:
    """The text, and when the first of it came (the clock of `time.perf_counter`)."""

    text: str
    first: float


Ask = Callable[[Turn, bool], Awaitable[Answer]]


class AskFailed(Exception):
    """A contestant gave no answer, or a wrong one."""


@dataclass(frozen=True)
class Limits:
    """When a slot ends: after `seconds` of its window and `requests` in it, but at `longest` for certain, or
    after `most` requests."""

    seconds: float
    requests: int
    longest: float
    most: int = 100_000


class ClosedLoop:
    """One slot. `expected` is the answer's text."""

    def __init__(self, ask: Ask, expected: str, stream: bool, limits: Limits) -> None:
        self._ask = ask
        self._expected = expected
        self._stream = stream
        self._limits = limits
        self._samples: list[Sample] = []
        self._without_answer = 0
        self._opened: float | None = None
        self._in_window = 0
        self._failures = 0
        self._closed: float | None = None
        self._begun = 0.0

    async def run(self, talkers: list[LoadClient]) -> Slot:
        """One client a talker; returns when the last one has its last answer."""
        self._begun = time.perf_counter()
        self._without_answer = len(talkers)
        clients = [asyncio.ensure_future(self._client(talker)) for talker in talkers]
        try:
            await asyncio.gather(*clients)
        finally:
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
        now = time.perf_counter()
        opened = self._opened
        if opened is None or (self._closed or now) <= opened:
            return Slot(self._samples, (self._begun, now))
        return Slot(self._samples, (opened, self._closed or now))

    async def _client(self, talker: LoadClient) -> None:
        first = True
        while not self._over():
            sample = await self._request(talker)
            self._samples.append(sample)
            if first:
                first = False
                self._without_answer -= 1
                if not self._without_answer:
                    self._opened = time.perf_counter()
            elif self._opened is not None:
                self._in_window += 1
            if not sample.ok:
                self._failures += 1
                await asyncio.sleep(_AFTER_A_FAILURE)

    async def _request(self, talker: LoadClient) -> Sample:
        turn, counts = talker.next()
        begun = time.perf_counter()
        try:
            answer = await asyncio.wait_for(self._ask(turn, self._stream), PATIENCE)
        except (AskFailed, OSError, asyncio.TimeoutError):
            now = time.perf_counter()
            talker.answered("")
            return Sample(begun, now, now, ok=False, counts=counts)
        ended = time.perf_counter()
        talker.answered(answer.text)
        return Sample(begun, answer.first, ended, answer.text == self._expected, counts)

    def _over(self) -> bool:
        if self._closed is not None:
            return True
        now, limits = time.perf_counter(), self._limits
        full = (
            self._opened is not None
            and now - self._opened >= limits.seconds
            and self._in_window >= limits.requests
        )
        full = full or now - self._begun >= limits.longest or len(self._samples) >= limits.most
        if full or self._failures >= _FAILURES_ALLOWED:
            self._closed = now
            return True
        return False
