"""Admission: a semaphore that caps concurrent turns, with a bounded queue in front of it.

Each request has a Ticket, which is in one of these states:

    outside --wait_for, acquire--> waiting --it is its turn--> inside, or holding a slot
       ^                              |                             |
       +------ QueueFull, cancelled --+          release -----------+--> outside, with the right to return

*Waiting* is a place in the queue, whatever is waited for: a session's lock, which a request takes first so
that it never holds a slot meanwhile, or a slot. Places are bounded by `max_queue`, the time in them by
`queue_timeout`, one span for both waits together. What is free at once takes no place.

A ticket that was let in once is *admitted*: when it returns for a retry, its slot having been released during
the backoff, a full queue doesn't refuse it, and its time starts anew. Somebody has waited for its answer
already.

Who may move it: the request that owns it, one call at a time. Only `wait_for` and `acquire` await. An owner
that is cancelled in there gives its place back on the way out and holds nothing: neither a slot
nor the lock, since a waiter of asyncio's that is cancelled passes on what it was just given. After that the
owner needs `release` only, which doesn't await, may be called in any state and does nothing without a slot.
The numbers in Admission are sums over tickets; nothing else changes them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import anyio

from claude_server.core.errors import QueueFull
from claude_server.core.ports import Lock


class Admission:
    """Admits `capacity` turns at a time; `max_queue` requests wait, each at most `queue_timeout` seconds."""

    def __init__(
        self, capacity: int, max_queue: int, queue_timeout: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.capacity = capacity
        self.max_queue = max_queue
        self.queue_timeout = queue_timeout
        self._clock = clock
        self._slots = asyncio.Semaphore(capacity)
        self.running = 0
        self.waiting = 0
        self.refused = 0

    def __repr__(self) -> str:
        return f"<Admission running={self.running}/{self.capacity} waiting={self.waiting}/{self.max_queue}>"

    def ticket(self) -> Ticket:
        """A ticket for one request: its place in the queue, then its slot."""
        return Ticket(self)

    def _retry_after(self) -> float:
        # A turn takes seconds: a client that retries sooner only meets the same queue.
        return 1.0 + self.waiting / self.capacity


class Ticket:
    """A request's place in the queue and its slot. Only `wait_for` and `acquire` await: a cancelled owner
    must be able to release its slot."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._deadline: float | None = None
        self._admitted = False
        self._holds = False

    async def acquire(self) -> None:
        """Take a slot. Raises QueueFull. A request that was admitted once is not refused for a full queue
        when it returns for a retry, and its waiting time starts anew."""
        await self.wait_for(self._admission._slots)
        self._admitted = True
        self._holds = True
        self._admission.running += 1

    def release(self) -> None:
        """Release the slot; does nothing without one."""
        if self._holds:
            self._holds = False
            self._deadline = None
            self._admission.running -= 1
            self._admission._slots.release()

    async def wait_for(self, lock: Lock) -> None:
        """Acquire `lock`, as one of the queue's waiters if it isn't free. Raises QueueFull."""
        if not lock.locked():
            await lock.acquire()
            return
        admission = self._admission
        if admission.waiting >= admission.max_queue and not self._admitted:
            admission.refused += 1
            raise QueueFull(
                f"The queue is full: {admission.running} turns run and {admission.waiting} requests wait. "
                "Try again later, or raise CLAUDE_MAX_QUEUE or CLAUDE_MAX_CONCURRENCY.",
                retry_after=admission._retry_after(),
            )
        if self._deadline is None:
            self._deadline = admission._clock() + admission.queue_timeout
        self._admitted = True
        admission.waiting += 1
        try:
            with anyio.fail_after(max(0.0, self._deadline - admission._clock())):
                await lock.acquire()
        except TimeoutError:
            admission.refused += 1
            raise QueueFull(
                f"No turn came free within {admission.queue_timeout:g} s (CLAUDE_QUEUE_TIMEOUT).",
                retry_after=admission._retry_after(),
            ) from None
        finally:
            admission.waiting -= 1
