"""Answers in the background: each is a task of the application, which keeps what it makes.

A job's answer is kept when it is taken, and at its end with all of its events; so it can be followed from any
event on, while it runs and later. While it runs, its record is touched: one that wasn't for a while belongs
to a server that is gone, and has failed.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing, suppress

import structlog

from claude_server.core.entry import Entry
from claude_server.core.errors import QueueFull, ShuttingDown, TurnError
from claude_server.core.model import TurnEvent, TurnRequest
from claude_server.core.ports import StoreError
from claude_server.core.responses import KeptResponses, NotKept
from claude_server.dialects.base import Failure, Lasting, Prepared, ServerEvent

# Seconds between two touches of a running job's record, and the age from which on it counts as abandoned.
TOUCH = 10.0
ABANDONED = 45.0
# How long the end of a server waits for its jobs to be noted as failed.
_END = 5.0
_EVENTS = "events_"
Run = Callable[[TurnRequest], AsyncGenerator[TurnEvent, None]]

log = structlog.get_logger("background")


class Job:
    """One answer. `events` are those so far; `over`: there will be no more."""

    def __init__(self, entry: Entry) -> None:
        self.id = entry.id
        self.owner = entry.owner
        self.events: list[ServerEvent] = []
        self.over = False
        self.cancelled = False
        self._news = asyncio.Event()

    def add(self, events: Iterable[ServerEvent]) -> None:
        self.events += events
        self._tell()

    def end(self) -> None:
        self.over = True
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def follow(self, place: int = 0) -> AsyncGenerator[ServerEvent, None]:
        """The events from a place on, as they come."""
        while True:
            news = self._news
            while place < len(self.events):
                yield self.events[place]
                place += 1
            if self.over:
                return
            if news is self._news:
                await news.wait()


class BackgroundJobs:
    """The jobs of this server. `failure_of` makes a failure of what a turn raises; `most`: at a time."""

    def __init__(
        self, run: Run, kept: KeptResponses, failure_of: Callable[[TurnError], Failure], most: int
    ) -> None:
        self._run = run
        self._kept = kept
        self._failure_of = failure_of
        self._most = most
        self._jobs: dict[tuple[str, str], tuple[Job, asyncio.Task[None]]] = {}

    async def start(self, prepared: Prepared, lasting: Lasting) -> Job:
        """Take a job: when this returns it is kept. Raises QueueFull, NotKept and StoreError."""
        if len(self._jobs) >= self._most:
            why = "Too many responses are made in the background. Try again later."
            raise QueueFull(why, retry_after=5.0)
        job = Job(lasting.entry())
        job.add(lasting.begin())
        await self._kept.save(lasting.entry())
        task = asyncio.create_task(self._work(job, prepared, lasting))
        self._jobs[job.owner, job.id] = job, task
        task.add_done_callback(lambda _: self._jobs.pop((job.owner, job.id), None))
        # A task that is cancelled before it began does nothing at all.
        await asyncio.sleep(0)
        return job

    def running(self, owner: str, id: str) -> Job | None:
        """The job, if this server runs it."""
        found = self._jobs.get((owner, id))
        return None if found is None else found[0]

    async def cancel(self, owner: str, id: str) -> None:
        """End a job, if this server runs it; returns when that is kept."""
        found = self._jobs.get((owner, id))
        if found is None:
            return
        job, task = found
        job.cancelled = True
        task.cancel()
        await asyncio.wait([task])

    async def close(self) -> None:
        """End all jobs; they are kept as failed."""
        tasks = [task for _, task in self._jobs.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_END)

    async def events(self, entry: Entry) -> Sequence[ServerEvent]:
        """The events of an answer that has ended."""
        found = await self._kept.load(entry.owner, _EVENTS + entry.id)
        return (
            []
            if found is None
            else [ServerEvent(data.encode(), name) for name, data in json.loads(found.output)]
        )

    async def forget(self, entry: Entry) -> None:
        """Remove the events of an answer that is erased."""
        await self._kept.delete(entry.owner, _EVENTS + entry.id)

    async def _work(self, job: Job, prepared: Prepared, lasting: Lasting) -> None:
        started = time.monotonic()
        touching = asyncio.create_task(self._touch(job))
        try:
            last = await self._made(job, prepared, lasting)
            touching.cancel()
            await self._keep(job, lasting, last)
            job.add(last)
        except Exception:
            # The edge of a task of its own.
            log.exception("a fault of ours while a response was made in the background", id=job.id)
        finally:
            touching.cancel()
            job.end()
            log.info("background response", id=job.id, ms=round((time.monotonic() - started) * 1000))

    async def _made(self, job: Job, prepared: Prepared, lasting: Lasting) -> list[ServerEvent]:
        """Runs the turn; returns the last events, which are to be kept before they are told."""
        try:
            async with aclosing(self._run(prepared.turns[0])) as events:
                async for event in events:
                    job.add(prepared.presenter.events(0, event))
            return list(prepared.presenter.end())
        except TurnError as error:
            return list(prepared.presenter.failed(self._failure_of(error)))
        except asyncio.CancelledError:
            if job.cancelled:
                return list(lasting.cancelled())
            why = ShuttingDown("The server was stopped while the response was made. Ask again.")
            return list(prepared.presenter.failed(self._failure_of(why)))

    async def _keep(self, job: Job, lasting: Lasting, last: Sequence[ServerEvent]) -> None:
        entry = lasting.entry()
        events = json.dumps([[event.name, event.data.decode()] for event in (*job.events, *last)])
        made = Entry(job.owner, _EVENTS + job.id, "events", entry.created_at, entry.used_at, output=events)
        try:
            await self._kept.save(made)
            await self._kept.save(entry)
        except (StoreError, NotKept) as error:
            log.warning("a response of the background can't be kept", id=job.id, problem=str(error))

    async def _touch(self, job: Job) -> None:
        """Shows that the job runs, and looks whether another server was told to end it."""
        while True:
            await asyncio.sleep(TOUCH)
            with suppress(StoreError):
                found = await self._kept.load(job.owner, job.id)
                if found is None or json.loads(found.body).get("status") == "cancelled":
                    job.cancelled = True
                    self._jobs[job.owner, job.id][1].cancel()
                    return
                await self._kept.touch(job.owner, job.id)
