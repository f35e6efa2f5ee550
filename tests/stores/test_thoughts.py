"""What is kept of thoughts, held against every implementation word for word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from claude_server.core.model import RedactedThinking, Thinking
from claude_server.core.ports import CallThoughts, StoreError, ThoughtStore
from claude_server.stores.thoughts import Bounds, SqliteThoughtStore
from tests.stores.implementations import Implementation
from tests.support import Clock

WHOLE = CallThoughts(
    "toolu_1",
    "claude-x-5",
    (Thinking("a 'thought' \N{SNOWMAN}\n\0", "sig="), RedactedThinking("ZGF0YQ=="), Thinking("", "only")),
    (Thinking("And?", "sig2"),),
)

Open = Callable[..., AbstractAsyncContextManager[ThoughtStore]]


def note(number: int, text: str = "hm") -> CallThoughts:
    return CallThoughts(f"toolu_{number}", "claude-x-5", (Thinking(text, "sig"),))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(kind: Implementation, tmp_path: Path, clock: Clock) -> Open:
    """A server's store on the records of this test."""

    @asynccontextmanager
    async def open_store(**bounds: float) -> AsyncGenerator[ThoughtStore, None]:
        store = kind.thoughts(tmp_path, Bounds(**bounds), clock)  # type: ignore[arg-type]
        await store.open()
        yield store
        await store.close()

    return open_store


async def kept(store: ThoughtStore, *calls: int, owner: str = "key") -> list[int]:
    found = await store.load(owner, [f"toolu_{call}" for call in calls])
    assert all(id == note.call for id, note in found.items())
    return sorted(int(id.removeprefix("toolu_")) for id in found)


async def test_a_note_is_kept_as_it_is(opened: Open) -> None:
    """For whoever opens the store next, and for a server that had it open before."""
    async with opened() as other, opened() as store:
        await store.save("key", [WHOLE, note(2)])
        for reader in (store, other, store):
            assert await reader.load("key", ["toolu_1", "toolu_3"]) == {"toolu_1": WHOLE}
    async with opened() as store:
        assert await store.load("key", ["toolu_1"]) == {"toolu_1": WHOLE}
        await store.save("key", [note(1)])
        assert await store.load("key", ["toolu_1"]) == {"toolu_1": note(1)}
        assert await store.load("key", []) == {}


async def test_another_owner_finds_nothing(opened: Open) -> None:
    async with opened() as store:
        await store.save("key", [note(1)])
        await store.save("", [note(2)])
        assert [await kept(store, 1, 2, owner=owner) for owner in ("key", "", "other")] == [[1], [2], []]


async def test_what_is_too_old_is_gone(opened: Open, clock: Clock) -> None:
    async with opened(age=100) as store:
        await store.save("key", [note(1)])
        clock.now += 60
        await store.save("key", [note(2)])
        clock.now += 40
        assert await kept(store, 1, 2) == [2]
    async with opened(age=100):
        pass
    clock.now -= 100
    async with opened(age=100) as store:
        # Opening has removed it, not only hidden it.
        assert await kept(store, 1, 2) == [2]


async def test_an_age_of_nothing_keeps_nothing(opened: Open) -> None:
    async with opened() as store:
        await store.save("key", [note(1)])
    async with opened(age=0) as store:
        await store.save("key", [note(2)])
        assert await kept(store, 1, 2) == []
    async with opened() as store:
        assert await kept(store, 1, 2) == []


async def test_of_too_many_the_oldest_go(opened: Open, clock: Clock) -> None:
    async with opened(count=32, memory=0) as store:
        for number in range(100):
            clock.now += 1
            await store.save("key", [note(number)])
        found = await kept(store, *range(100))
        assert found == list(range(found[0], 100)) and 32 <= len(found) <= 34


async def test_of_too_many_bytes_the_oldest_go(opened: Open, clock: Clock) -> None:
    async with opened(size=100_000, memory=0) as store:
        for number in range(100):
            clock.now += 1
            await store.save("key", [note(number, "x" * 5_000)])
        found = await kept(store, *range(100))
        assert found == list(range(found[0], 100)) and 18 <= len(found) <= 22
        # One that would push out all others.
        await store.save("key", [note(100, "x" * 10_000)])
        assert await kept(store, 99, 100) == [99]


async def test_memory_is_bounded_and_what_it_forgets_is_found(tmp_path: Path, clock: Clock) -> None:
    store = SqliteThoughtStore(tmp_path, Bounds(memory=10_000), clock)
    await store.open()
    for number in range(50):
        await store.save("key", [note(number, "x" * 1_000)])
        assert store.in_memory <= 10_000
    assert await kept(store, *range(50)) == list(range(50))
    assert 0 < store.in_memory <= 10_000
    await store.close()


async def test_a_store_that_is_not_open(kind: Implementation, tmp_path: Path, clock: Clock) -> None:
    store = kind.thoughts(tmp_path, Bounds(), clock)
    with pytest.raises(RuntimeError):
        await store.load("key", ["toolu_1"])
    await store.open()
    for _ in range(2):
        await store.close()


async def test_records_of_a_newer_server_stay_as_they_are(
    kind: Implementation, tmp_path: Path, clock: Clock, opened: Open
) -> None:
    async with opened() as store:
        await store.save("key", [note(1)])
    kind.make_newer(tmp_path)
    store = kind.thoughts(tmp_path, Bounds(), clock)
    with pytest.raises(StoreError, match="newer server"):
        await store.open()


async def test_what_is_no_store_is_moved_aside(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "thoughts.sqlite3").write_bytes(b"not a database" * 100)
    store = SqliteThoughtStore(tmp_path, Bounds(), clock)
    await store.open()
    assert store.moved_aside is not None and store.moved_aside.read_bytes().startswith(b"not a")
    await store.save("key", [note(1)])
    assert await kept(store, 1) == [1]
    await store.close()


async def test_a_full_disk_is_told(kind: Implementation, tmp_path: Path, opened: Open) -> None:
    async with opened() as store:
        await store.save("key", [note(1)])
        with kind.full(tmp_path), pytest.raises(StoreError):
            await store.save("key", [note(2, "x" * 100_000)])
        await store.save("key", [note(3)])
        assert await kept(store, 1, 3) == [1, 3]


async def test_many_at_once(opened: Open) -> None:
    async with opened(count=64) as store:
        await asyncio.gather(*(store.save("key", [note(n), note(1000 + n)]) for n in range(30)))
        assert await kept(store, *range(30)) == list(range(30))
