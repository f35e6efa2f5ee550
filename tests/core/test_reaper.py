"""Sessions that end: what is asked of the engine, and when."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from claude_server.core.errors import SessionConflict, SessionNotFound, StateFailed
from claude_server.core.model import TurnRequest
from claude_server.core.ports import Lock, StoreError
from claude_server.core.reaper import SessionReaper
from claude_server.core.sessions import session_uuid
from claude_server.stores.sessions import SessionRegistry
from tests.support import Clock, IdleBackend

LIFE = 100.0


class Engine(IdleBackend):
    """Keeps the sessions that a test names, and notes what is ended and erased."""

    def __init__(self, *kept: str) -> None:
        super().__init__()
        self.kept = {session_uuid("", name) for name in kept}
        self.transcripts = set(self.kept)
        self.ended: list[str] = []
        self.stuck = False

    async def count_tokens(self, turn: TurnRequest) -> int:
        raise AssertionError("nothing is counted")

    def kept_sessions(self) -> frozenset[str]:
        return frozenset(self.kept)

    def end_session(self, session_uuid: str) -> None:
        self.kept.remove(session_uuid)
        self.ended.append(session_uuid)

    async def erase(self, session_uuid: str) -> bool:
        if self.stuck:
            raise StateFailed("The session's transcript can't be removed: read-only.")
        found = session_uuid in self.transcripts
        self.transcripts.discard(session_uuid)
        return found


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def registry(tmp_path: Path, clock: Clock) -> AsyncGenerator[SessionRegistry, None]:
    made = SessionRegistry(tmp_path, LIFE, clock)
    await made.open()
    yield made
    await made.close()


async def acquire(lock: Lock) -> None:
    await lock.acquire()


async def begin(registry: SessionRegistry, *names: str) -> None:
    for name in names:
        async with registry.hold("", name, acquire) as session:
            await session.create("")


@pytest.mark.parametrize(("ttl", "interval"), [(3600, 300), (86400, 300), (60, 5), (1, 0.5), (0.01, 0.5)])
def test_how_often_is_looked(tmp_path: Path, ttl: float, interval: float) -> None:
    assert SessionReaper(IdleBackend(), SessionRegistry(tmp_path, ttl)).interval == interval


async def test_processes_of_expired_and_of_deleted_sessions_end(
    registry: SessionRegistry, clock: Clock
) -> None:
    engine = Engine("old", "used", "deleted by another server")
    await begin(registry, "old", "used")
    clock.now += LIFE - 1
    await registry.renew("", "used")
    clock.now += 1
    await SessionReaper(engine, registry).sweep()
    assert sorted(engine.ended) == sorted(
        session_uuid("", name) for name in ("old", "deleted by another server")
    )
    assert engine.transcripts >= {session_uuid("", "old")}


async def test_it_goes_on_after_a_failure(registry: SessionRegistry, tmp_path: Path) -> None:
    """The records can't be read, then they can, until it is cancelled."""
    engine = Engine("gone")
    looks = 0
    enough = asyncio.Event()

    async def sleep(seconds: float) -> None:
        nonlocal looks
        looks += 1
        with contextlib.closing(sqlite3.connect(tmp_path / "sessions.sqlite3")) as other:
            if looks == 1:
                other.execute("ALTER TABLE sessions RENAME TO hidden")
            elif looks == 2:
                assert engine.ended == []
                other.execute("ALTER TABLE hidden RENAME TO sessions")
            else:
                enough.set()
                await asyncio.Event().wait()

    task = asyncio.create_task(SessionReaper(engine, registry, sleep=sleep).run())
    await asyncio.wait_for(enough.wait(), 10)
    assert engine.ended == [session_uuid("", "gone")]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_session_is_deleted(registry: SessionRegistry) -> None:
    engine = Engine("a")
    await begin(registry, "a")
    reaper = SessionReaper(engine, registry)
    await reaper.delete("", "a")
    assert engine.transcripts == set()
    assert await registry.active("") == []
    with pytest.raises(SessionNotFound):
        await reaper.delete("", "a")


async def test_a_transcript_without_a_record_is_deleted(registry: SessionRegistry) -> None:
    engine = Engine("a")
    await SessionReaper(engine, registry).delete("", "a")
    assert engine.transcripts == set()


async def test_nobody_deletes_what_is_not_theirs(registry: SessionRegistry) -> None:
    name = "0b4e7a0e-5c3a-4b53-8d8e-3a3f0a3f0a3f"
    engine = Engine(name)
    await begin(registry, name, "mine")
    reaper = SessionReaper(engine, registry)
    for session_id in (name, name.upper(), "mine", ""):
        with pytest.raises(SessionNotFound):
            await reaper.delete("somebody else", session_id)
    assert len(await registry.active("")) == 2 and engine.transcripts


async def test_what_has_no_record_is_deleted_by_its_owner_only(
    registry: SessionRegistry, tmp_path: Path
) -> None:
    """The records are lost. Of one conversation it is noted whose it is, of the other it is not."""
    noted, unknown = "0b4e7a0e-5c3a-4b53-8d8e-3a3f0a3f0a3f", "1b4e7a0e-5c3a-4b53-8d8e-3a3f0a3f0a3f"
    async with registry.hold("a", noted, acquire) as session:
        await session.create("")
    with contextlib.closing(sqlite3.connect(tmp_path / "sessions.sqlite3")) as other:
        other.execute("DELETE FROM sessions")
        other.commit()
    engine = Engine(noted, unknown)
    reaper = SessionReaper(engine, registry)
    for owner, name in (("b", noted), ("b", unknown), ("a", unknown)):
        with pytest.raises(SessionNotFound):
            await reaper.delete(owner, name)
    assert engine.transcripts == {noted, unknown}
    await reaper.delete("a", noted)
    assert engine.transcripts == {unknown}
    assert [*(tmp_path / "owners").iterdir()] == []


async def test_a_running_turn_is_waited_for(registry: SessionRegistry) -> None:
    reaper = SessionReaper(Engine("a"), registry)
    async with registry.hold("", "a", acquire) as session:
        await session.create("")
        deleting = asyncio.create_task(reaper.delete("", "a"))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(deleting), 0.05)
        assert session.record is not None
    await deleting
    assert await registry.active("") == []


async def test_a_turn_that_goes_on_is_not_deleted_under(registry: SessionRegistry) -> None:
    engine = Engine("a")
    async with registry.hold("", "a", acquire) as session:
        await session.create("")
        with pytest.raises(SessionConflict):
            await SessionReaper(engine, registry, patience=0.05).delete("", "a")
        await session.record_answer("m", None, 2)
    assert engine.transcripts and len(await registry.active("")) == 1


async def test_what_can_not_be_erased_can_be_deleted_again(registry: SessionRegistry) -> None:
    """The record stays: without it the transcript would be found, and gone on with."""
    engine = Engine("a")
    await begin(registry, "a")
    reaper = SessionReaper(engine, registry)
    engine.stuck = True
    with pytest.raises(StateFailed):
        await reaper.delete("", "a")
    assert len(await registry.active("")) == 1
    engine.stuck = False
    await reaper.delete("", "a")


async def test_records_that_can_not_be_read(registry: SessionRegistry, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "sessions.sqlite3")) as other:
        other.execute("DROP TABLE sessions")
    with pytest.raises(StoreError):
        await SessionReaper(Engine("a"), registry).delete("", "a")
