"""What the core's ports promise, held against every implementation word for word."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from uuid import UUID

import pytest

from claude_server.core.ports import (
    Lock,
    SessionCounts,
    SessionLocks,
    SessionRecord,
    SessionStore,
    StoreError,
)
from tests.stores.implementations import Implementation
from tests.stores.other_server import OtherServer


@pytest.fixture
async def store(kind: Implementation, tmp_path: Path) -> AsyncGenerator[SessionStore, None]:
    made = kind.store(tmp_path)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def locks(kind: Implementation, tmp_path: Path) -> AsyncGenerator[SessionLocks, None]:
    made = kind.locks(tmp_path)
    await made.open()
    yield made
    assert made.busy == []
    await made.close()


def uuid(number: int) -> str:
    return str(UUID(int=number))


def record(number: int, owner: str = "", used: float = 100.0, **fields: object) -> SessionRecord:
    made = SessionRecord(owner, f"s{number}", uuid(number), "", created_at=50.0, last_used=used)
    return replace(made, **fields)  # type: ignore[arg-type]


WHOLE = SessionRecord(
    *("key", "a 'name' \N{SNOWMAN}\n", uuid(1), 'Be "kind".\n\N{GRINNING FACE}'),
    mark="mark",
    cost_usd=0.1 + 0.2,
    turns=2**40,
    created_at=1_700_000_000.123456,
    last_used=1_700_000_001.654321,
    messages=7,
    tools=True,
    calls='[[["id", "name", null]], []]',
)


# Records


@pytest.mark.parametrize(
    "kept",
    [
        WHOLE,
        replace(WHOLE, mark=None, cost_usd=None, messages=None, tools=False, calls=""),
        replace(WHOLE, mark="", cost_usd=0.0, turns=0, messages=0, system="", owner="", session_id=""),
        replace(WHOLE, system="\N{SNOWMAN}" * 4_000_000),
    ],
    ids=["all", "none", "zero", "large"],
)
async def test_a_record_is_kept_as_it_is(
    store: SessionStore, kind: Implementation, tmp_path: Path, kept: SessionRecord
) -> None:
    await store.save(kept)
    assert await store.load(kept.uuid) == kept
    await store.close()
    again = kind.store(tmp_path)
    await again.open()
    assert await again.load(kept.uuid) == kept
    await again.close()


async def test_a_record_takes_the_place_of_another(store: SessionStore) -> None:
    await store.save(record(1, system="first"))
    await store.save(record(1, system="second"))
    found = await store.load(uuid(1))
    assert found is not None and found.system == "second"
    # The same name with another UUID, and the same UUID with another name.
    await store.save(record(1, uuid=uuid(2)))
    assert await store.load(uuid(1)) is None
    await store.save(record(1, uuid=uuid(2), session_id="S1"))
    assert [found.session_id for found in await store.active("", 0, 9, 0)] == ["S1"]
    assert await store.counts("", 0) == SessionCounts(1, 0, 0)


async def test_a_record_is_removed_once(store: SessionStore) -> None:
    await store.save(record(1))
    for _ in range(2):
        await store.delete(uuid(1))
        assert await store.load(uuid(1)) is None
    assert await store.touch(uuid(1), "", 200.0) is None
    assert await store.counts("", 0) == SessionCounts(0, 0, 0)


async def test_use_is_noted_and_nothing_else(store: SessionStore) -> None:
    await store.save(WHOLE)
    noted = replace(WHOLE, last_used=WHOLE.last_used + 5)
    assert await store.touch(WHOLE.uuid, "key", noted.last_used) == noted
    assert await store.load(WHOLE.uuid) == noted


# Owners


async def test_owners_meet_nowhere(store: SessionStore) -> None:
    for number, owner in enumerate(("", "a", "b"), 1):
        await store.save(record(number, owner, session_id="shared", messages=number))
    assert await store.touch(uuid(2), "b", 200.0) is None
    assert await store.touch(uuid(2), "", 200.0) is None
    for number, owner in enumerate(("", "a", "b"), 1):
        found = await store.load(uuid(number))
        assert found is not None and (found.owner, found.last_used) == (owner, 100.0)
        assert [one.messages for one in await store.active(owner, 0, 9, 0)] == [number]
        assert await store.counts(owner, 0) == SessionCounts(1, 0, number)
    assert await store.active("A", 0, 9, 0) == [] and await store.counts("A", 0) == SessionCounts(0, 0, 0)


async def test_a_note_is_its_owners_until_it_is_erased(kind: Implementation, tmp_path: Path) -> None:
    notes, elsewhere = kind.notes(tmp_path), kind.notes(tmp_path)
    assert await notes.is_owner(uuid(1), "a") is None
    await notes.write(uuid(1), "a")
    for one in (notes, elsewhere):
        assert [await one.is_owner(uuid(1), owner) for owner in ("a", "b", "A", "")] == [True] + [False] * 3
        assert await one.is_owner(uuid(2), "a") is None
    await elsewhere.write(uuid(1), "b")
    assert await notes.is_owner(uuid(1), "b") is True
    for _ in range(2):
        await notes.erase(uuid(1))
        assert await elsewhere.is_owner(uuid(1), "b") is None


async def test_a_full_disk_leaves_the_note_that_was(kind: Implementation, tmp_path: Path) -> None:
    notes = kind.notes(tmp_path)
    await notes.write(uuid(1), "a")
    with kind.full(tmp_path):
        for number in (1, 2):
            with pytest.raises(StoreError):
                await notes.write(uuid(number), "b")
        assert await notes.is_owner(uuid(1), "a") is True
    assert await notes.is_owner(uuid(2), "b") is None


# Order, bounds, expiry


async def test_pages_are_in_order_and_bounded(store: SessionStore) -> None:
    numbers = list(range(40))
    random.Random(1).shuffle(numbers)
    for number in numbers:
        await store.save(record(number, session_id=f"s{number:02}", used=100.0 + number // 4))
    whole = [f"s{4 * block + inner:02}" for block in reversed(range(10)) for inner in range(4)]
    for limit in (1, 7, 40, 500):
        pages = [await store.active("", 0, limit, offset) for offset in range(0, 40, limit)]
        assert [found.session_id for page in pages for found in page] == whole
        assert all(len(page) <= limit for page in pages)
    assert await store.active("", 0, 9, 40) == [] == await store.active("", 0, 9, 2**63 - 1)
    assert await store.active("", 0, 0, 0) == []


async def test_a_session_is_active_if_it_was_used_after_a_time(store: SessionStore) -> None:
    for number, used in ((1, 99.5), (2, 100.0), (3, 100.5)):
        await store.save(record(number, used=used, messages=None if number == 3 else number))
    assert [found.last_used for found in await store.active("", 100.0, 9, 0)] == [100.5]
    assert await store.counts("", 100.0) == SessionCounts(active=1, expired=2, messages=0)
    assert await store.counts("", 99.0) == SessionCounts(active=3, expired=0, messages=3)
    assert await store.inactive([uuid(number) for number in (1, 2, 3, 4)], 100.0) == {
        *(uuid(1), uuid(2), uuid(4)),
    }
    # Looked at and noted in one step.
    assert await store.touch(uuid(2), "", 300.0, since=100.0) is None
    renewed = await store.touch(uuid(3), "", 300.0, since=100.0)
    assert renewed is not None and renewed.last_used == 300.0
    # Who expired is still there for a turn that goes on.
    assert await store.load(uuid(1)) is not None and await store.touch(uuid(1), "", 300.0) is not None
    assert await store.inactive([uuid(1), uuid(2)], 100.0) == {uuid(2)}


async def test_many_are_asked_for_at_once(store: SessionStore) -> None:
    await store.save(record(1))
    many = [uuid(number) for number in range(1, 50_001)]
    assert len(await store.inactive(many, 0.0)) == 49_999
    assert await store.inactive([], 0.0) == set()


# Open and closed


async def test_what_is_not_open(kind: Implementation, tmp_path: Path) -> None:
    store, locks = kind.store(tmp_path), kind.locks(tmp_path)
    for _ in range(2):
        await store.close()
        await locks.close()
        for call in (store.load("x"), store.save(WHOLE), store.counts("", 0)):
            with pytest.raises(RuntimeError, match=r"open\(\) was not called"):
                await call
        with pytest.raises(RuntimeError, match=r"open\(\) was not called"):
            async with locks.hold("x", take):
                raise AssertionError("held a name of closed locks")
        assert locks.busy == []


async def test_several_open_a_new_place_at_once(kind: Implementation, tmp_path: Path) -> None:
    stores = [kind.store(tmp_path) for _ in range(4)]
    await asyncio.gather(*(store.open() for store in stores))
    await stores[0].save(WHOLE)
    for store in stores:
        assert await store.load(WHOLE.uuid) == WHOLE
        await store.close()


async def test_records_of_a_newer_server_are_left_alone(
    store: SessionStore, kind: Implementation, tmp_path: Path
) -> None:
    await store.save(WHOLE)
    await store.close()
    kind.make_newer(tmp_path)
    for _ in range(2):
        with pytest.raises(StoreError, match="newer server"):
            await kind.store(tmp_path).open()


# Crashes, a full disk, other servers


async def test_what_was_written_outlives_a_kill(
    store: SessionStore, another: Callable[[], AbstractContextManager[OtherServer]]
) -> None:
    for number in range(2):
        with another() as other:
            other.ask("save", asdict(replace(WHOLE, turns=number)))
            other.kill()
        assert await store.load(WHOLE.uuid) == replace(WHOLE, turns=number)


async def test_a_kill_in_the_middle_leaves_the_old_or_the_new(
    store: SessionStore, another: Callable[[], AbstractContextManager[OtherServer]]
) -> None:
    texts = {letter: letter * 2_000_000 for letter in "ab"}
    await store.save(replace(WHOLE, system=texts["a"]))
    with another() as other:
        other.ask("load", "x")
        for _ in range(3):
            other.tell("save", asdict(replace(WHOLE, system=texts["b"])))
        other.kill()
    found = await store.load(WHOLE.uuid)
    assert found is not None and found.system in texts.values()
    await store.save(WHOLE)
    assert await store.load(WHOLE.uuid) == WHOLE


async def test_servers_see_what_each_other_wrote(
    store: SessionStore, another: Callable[[], AbstractContextManager[OtherServer]]
) -> None:
    with another() as other:
        for turns in range(3):
            await store.save(replace(WHOLE, turns=2 * turns))
            assert other.ask("load", WHOLE.uuid)["turns"] == 2 * turns
            other.ask("save", asdict(replace(WHOLE, turns=2 * turns + 1)))
            found = await store.load(WHOLE.uuid)
            assert found is not None and found.turns == 2 * turns + 1
        # Both at once, and nothing is lost.
        for number in range(100):
            other.tell("save", asdict(record(number, "theirs", uuid=uuid(1000 + number))))
        for number in range(100):
            await store.save(record(number, "ours"))
        for _ in range(100):
            other.answer()
        other.end()
    for owner in ("ours", "theirs"):
        assert (await store.counts(owner, 0)).active == 100


async def test_a_full_disk_changes_nothing(store: SessionStore, kind: Implementation, tmp_path: Path) -> None:
    await store.save(WHOLE)
    with kind.full(tmp_path):
        for _ in range(2):
            with pytest.raises(StoreError):
                await store.save(replace(WHOLE, turns=9, system="x" * 1_000_000))
            with pytest.raises(StoreError):
                await store.save(record(2))
        assert await store.load(WHOLE.uuid) == WHOLE
        assert await store.load(uuid(2)) is None
    # There is room again.
    await store.save(record(2))
    assert await store.load(uuid(2)) == record(2)
    await store.close()
    again = kind.store(tmp_path)
    await again.open()
    assert await again.load(WHOLE.uuid) == WHOLE
    await again.close()


# One turn at a time


async def take(lock: Lock) -> None:
    await lock.acquire()


class Waiter:
    """Waits for locks like a turn in the queue. `met`: which were taken when it came."""

    def __init__(self) -> None:
        self.met: list[bool] = []
        self.waits = asyncio.Event()

    async def __call__(self, lock: Lock) -> None:
        self.met.append(lock.locked())
        if self.met[-1]:
            self.waits.set()
        await lock.acquire()


async def test_who_comes_first_is_served_first(locks: SessionLocks) -> None:
    order: list[int] = []
    inside = 0

    async def turn(number: int, waiter: Waiter) -> None:
        nonlocal inside
        async with locks.hold("s", waiter):
            inside += 1
            assert inside == 1
            order.append(number)
            await asyncio.sleep(0)
            inside -= 1

    async with locks.hold("s", take):
        waiters = [Waiter() for _ in range(10)]
        tasks = []
        for number, waiter in enumerate(waiters):
            tasks.append(asyncio.create_task(turn(number, waiter)))
            await asyncio.wait_for(waiter.waits.wait(), 30)
        assert locks.busy == ["s"]
    await asyncio.gather(*tasks)
    assert order == list(range(10))


async def test_other_names_do_not_wait(locks: SessionLocks) -> None:
    waiter = Waiter()
    async with locks.hold("s", take), locks.hold("t", waiter), locks.hold("S", waiter):
        assert locks.busy == ["S", "s", "t"] and not any(waiter.met)


async def test_who_gives_up_leaves_nothing_held(
    locks: SessionLocks, another: Callable[[], AbstractContextManager[OtherServer]]
) -> None:
    """Behind a turn of this process, then behind one of another."""

    async def turn(waiter: Waiter) -> None:
        async with locks.hold("s", waiter):
            raise AssertionError("held after giving up")

    async def give_up() -> None:
        waiter = Waiter()
        task = asyncio.create_task(turn(waiter))
        await asyncio.wait_for(waiter.waits.wait(), 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async with locks.hold("s", take):
        await give_up()
    with another() as other:
        other.ask("hold", "s")
        await give_up()
        assert locks.busy == []
        other.ask("release")
        other.ask("hold", "s")


async def test_who_is_refused_leaves_nothing_held(locks: SessionLocks) -> None:
    async def refuse(lock: Lock) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        async with locks.hold("s", refuse):
            raise AssertionError("held what was refused")
    async with locks.hold("s", Waiter()):
        assert locks.busy == ["s"]


async def test_the_end_awaits_nothing(locks: SessionLocks) -> None:
    """In a task that is being cancelled an await may be cancelled too."""
    held = locks.hold("s", take)
    await held.__aenter__()
    leaving = held.__aexit__(None, None, None)
    with pytest.raises(StopIteration):
        leaving.send(None)
    assert locks.busy == []


@pytest.mark.parametrize("how", ["release", "end", "kill"])
async def test_another_server_is_waited_for(
    locks: SessionLocks, another: Callable[[], AbstractContextManager[OtherServer]], how: str
) -> None:
    waiter = Waiter()

    async def turn() -> None:
        async with locks.hold("s", waiter):
            pass

    with another() as other:
        other.ask("hold", "s")
        task = asyncio.create_task(turn())
        await asyncio.wait_for(waiter.waits.wait(), 30)
        async with locks.hold("t", take):
            assert not task.done()
        {"release": lambda: other.ask("release"), "end": other.end, "kill": other.kill}[how]()
        await asyncio.wait_for(task, 30)


async def test_another_server_waits_for_us(
    locks: SessionLocks, another: Callable[[], AbstractContextManager[OtherServer]]
) -> None:
    order: list[str] = []
    with another() as other:
        async with locks.hold("s", take):
            other.tell("hold", "s")
            theirs = asyncio.create_task(asyncio.to_thread(other.answer))
            theirs.add_done_callback(lambda _: order.append("theirs"))
            # Time in which it would come through, if it didn't wait.
            await asyncio.wait({theirs}, timeout=0.5)
            order.append("ours")
        await asyncio.wait_for(theirs, 30)
        await asyncio.sleep(0)
    assert order == ["ours", "theirs"]
