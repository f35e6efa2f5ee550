"""Session records and locks."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
import uuid
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_server.core.ports import Lock, SessionCounts, SessionOwnedByOther, SessionRecord, StoreError
from claude_server.core.sessions import Session, session_uuid
from claude_server.stores.sessions import SessionRegistry
from claude_server.stores.sqlite import SCHEMA_VERSION
from tests.support import Clock

NAME = "0b4e7a0e-5c3a-4b53-8d8e-3a3f0a3f0a3f"


async def acquire(lock: Lock) -> None:
    await lock.acquire()


class Queue:
    """Waits for locks, and tells which were taken when it came."""

    def __init__(self) -> None:
        self.met: list[bool] = []
        self.waits = asyncio.Event()

    async def __call__(self, lock: Lock) -> None:
        self.met.append(lock.locked())
        if self.met[-1]:
            self.waits.set()
        await lock.acquire()


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncGenerator[SessionRegistry, None]:
    made = SessionRegistry(tmp_path / "state")
    await made.open()
    yield made
    await made.close()


@contextlib.asynccontextmanager
async def reopened(folder: Path) -> AsyncGenerator[SessionRegistry, None]:
    made = SessionRegistry(folder)
    await made.open()
    try:
        yield made
    finally:
        await made.close()


async def record_of(registry: SessionRegistry, owner: str, session_id: str) -> SessionRecord | None:
    async with registry.hold(owner, session_id, acquire) as session:
        return session.record


# Names


@pytest.mark.parametrize("given", [NAME, NAME.upper(), NAME.title()])
def test_a_uuid_is_used_as_it_is(given: str) -> None:
    assert session_uuid("", given) == session_uuid("a", given) == NAME


@pytest.mark.parametrize(
    "given",
    [
        "s",
        "",
        "é" * 256,
        NAME.replace("-", ""),
        f"{{{NAME}}}",
        f"urn:uuid:{NAME}",
        NAME[:-1] + "g",
        NAME + " ",
        # 36 characters that Python's UUID would read as one.
        f"{{{NAME.replace('-', '')}}}--",
        "0_4e7a0e-5c3a-4b53-8d8e-3a3f0a3f0a3f",
        "\N{FULLWIDTH DIGIT ZERO}b4e7a0e-5c3a-4b53-8d8e-3a3f0a3f0a3f",
    ],
)
def test_any_other_name_is_mapped_to_a_uuid_of_its_owner(given: str) -> None:
    mapped = session_uuid("a", given)
    assert uuid.UUID(mapped).version == 5
    assert mapped == session_uuid("a", given) != session_uuid("b", given)


def test_the_mapping_is_for_ever() -> None:
    assert session_uuid("", "demo") == str(
        uuid.uuid5(uuid.UUID("6f0b1d0c-6c62-4d0f-9f8e-1f3b5a1c7a21"), "\ndemo")
    )


@given(st.lists(st.text(max_size=40), min_size=2, max_size=2, unique=True))
def test_two_names_never_meet(names: list[str]) -> None:
    first, second = (session_uuid("a", name) for name in names)
    assert first != second


# Records


async def test_only_the_user_can_read_the_files(registry: SessionRegistry, tmp_path: Path) -> None:
    async with registry.hold("", "s", acquire) as session:
        await session.create("")
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "state").iterdir()}
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert {"sessions.sqlite3", "sessions.lock"} <= set(modes)
    assert set(modes.values()) == {0o600}


async def test_a_session_from_its_first_turn_on(registry: SessionRegistry, tmp_path: Path) -> None:
    before = time.time()
    async with registry.hold("key", "s", acquire) as session:
        assert session.record is None
        assert session.uuid == session_uuid("key", "s")
        await session.create("Be kind")
        begun = session.record
    assert begun is not None
    assert begun == await record_of(registry, "key", "s")
    assert (begun.owner, begun.session_id, begun.uuid) == ("key", "s", session_uuid("key", "s"))
    assert (begun.system, begun.mark, begun.cost_usd, begun.turns) == ("Be kind", None, None, 0)
    assert before <= begun.created_at == begun.last_used <= time.time()

    async with registry.hold("key", "s", acquire) as session:
        await session.record_answer("mark-1", 0.5, 4)
        await session.record_answer("mark-2", None, 2)
    await registry.close()
    async with reopened(tmp_path / "state") as again:
        found = await record_of(again, "key", "s")
        assert again.moved_aside is None
    assert found is not None
    assert (found.system, found.mark, found.cost_usd, found.turns) == ("Be kind", "mark-2", None, 2)
    assert found.created_at == begun.created_at <= found.last_used


async def test_beginning_again_forgets_what_was_answered(registry: SessionRegistry) -> None:
    async with registry.hold("", "s", acquire) as session:
        await session.create("old")
        await session.record_answer("m", 1.0, 2)
        await session.create("new")
    found = await record_of(registry, "", "s")
    assert found is not None
    assert (found.system, found.mark, found.cost_usd, found.turns) == ("new", None, None, 0)


async def test_messages_are_counted_where_somebody_counts_from_the_start(registry: SessionRegistry) -> None:
    for name, before, after in (("counted", 4, 8), ("found", None, None)):
        async with registry.hold("", name, acquire) as session:
            await session.create("", before)
            await session.record_answer("m", None, 2)
            await session.record_answer("m", None, 2)
        found = await record_of(registry, "", name)
        assert found is not None and (found.messages, found.turns) == (after, 2)
    assert (await registry.counts("")).messages == 8


async def test_an_answer_needs_a_beginning(registry: SessionRegistry) -> None:
    async with registry.hold("", "s", acquire) as session:
        with pytest.raises(RuntimeError, match=r"create\(\) comes before record_answer\(\)"):
            await session.record_answer("m", None, 2)


async def test_one_name_of_two_owners_is_two_sessions(registry: SessionRegistry) -> None:
    for owner in ("a", "b"):
        async with registry.hold(owner, "s", acquire) as session:
            assert session.record is None
            await session.create(owner)
    found = await record_of(registry, "a", "s")
    assert found is not None and found.system == "a"


@pytest.mark.parametrize("lost", ["nothing", "record", "note"])
@pytest.mark.parametrize("name", [NAME, "notes"])
async def test_a_uuid_of_another_owner_is_taken(tmp_path: Path, name: str, lost: str) -> None:
    """By the record, by the note of its owner, by both; whatever the client called it."""
    owned = session_uuid("a", name)
    async with reopened(tmp_path) as registry, registry.hold("a", name, acquire) as session:
        await session.create("")
    if lost == "record":
        for file in tmp_path.glob("sessions.sqlite3*"):  # noqa: ASYNC240
            file.unlink()
    elif lost == "note":
        (tmp_path / "owners" / owned).unlink()
    async with reopened(tmp_path) as registry:
        for session_id in (owned, owned.upper()):
            with pytest.raises(SessionOwnedByOther):
                async with registry.hold("b", session_id, acquire):
                    raise AssertionError("held a session of somebody else")
        assert repr(registry).endswith("busy=[]>")
        async with registry.hold("a", name, acquire) as session:
            assert session.known and (session.record is None) == (lost == "record")
            # As after an update of a server that noted nothing.
            await session.renew()
        assert (tmp_path / "owners" / owned).exists()


async def test_nobody_is_known_by_a_uuid_alone_if_there_are_keys(registry: SessionRegistry) -> None:
    for owner, known in (("a", False), ("", True)):
        async with registry.hold(owner, NAME, acquire) as session:
            assert session.known is known


async def test_a_note_holds_no_key_and_goes_with_its_session(
    registry: SessionRegistry, tmp_path: Path
) -> None:
    folder = tmp_path / "state" / "owners"
    async with registry.hold("", "s", acquire) as session:
        await session.create("")
        await session.delete()
    assert not folder.exists()
    async with registry.hold("env_0123", NAME, acquire) as session:
        await session.create("")
        (note,) = folder.iterdir()
        assert note.name == NAME and "env_0123" not in note.read_text()
        assert (folder.stat().st_mode & 0o777, note.stat().st_mode & 0o777) == (0o700, 0o600)
        await session.delete()
        assert not session.known
    assert [*folder.iterdir()] == []
    async with registry.hold("b", NAME, acquire) as session:
        assert session.record is None


async def test_an_owner_that_can_not_be_read_is_nobody_elses_chance(
    registry: SessionRegistry, tmp_path: Path
) -> None:
    (tmp_path / "state" / "owners" / NAME).mkdir(parents=True)
    with pytest.raises(StoreError, match="the note of the session's owner: "):
        async with registry.hold("a", NAME, acquire):
            raise AssertionError("held a session that may be somebody else's")
    assert repr(registry).endswith("busy=[]>")


async def test_a_uuid_in_capitals_is_the_same_session(registry: SessionRegistry) -> None:
    async with registry.hold("a", NAME, acquire) as session:
        await session.create("kept")
    async with registry.hold("a", NAME.upper(), acquire) as session:
        assert session.record is not None
        assert (session.record.system, session.record.session_id) == ("kept", NAME.upper())
        await session.record_answer("m", None, 2)
    found = await record_of(registry, "a", NAME)
    assert found is not None and (found.mark, found.turns) == ("m", 1)


async def test_a_registry_that_is_not_open(tmp_path: Path) -> None:
    registry = SessionRegistry(tmp_path)
    await registry.close()
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"open\(\) was not called"):
            async with registry.hold("", "s", acquire):
                raise AssertionError("held a session without records")
    with pytest.raises(RuntimeError, match=r"open\(\) was not called"):
        await Session(registry, None, "", "s", NAME).create("")
    assert repr(registry).endswith("busy=[]>")


# Files that can't be used


async def test_a_corrupt_file_is_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / "sessions.sqlite3"
    path.write_bytes(b"not a database" * 1000)
    (tmp_path / "sessions.sqlite3-wal").write_bytes(b"old")
    async with reopened(tmp_path) as registry:
        aside = registry.moved_aside
        assert aside is not None
        assert aside.parent == tmp_path
        assert aside.name.startswith("sessions.corrupt-")
        assert aside.read_bytes() == b"not a database" * 1000
        async with registry.hold("", "s", acquire) as session:
            assert session.record is None
            await session.create("")
    async with reopened(tmp_path) as registry:
        assert registry.moved_aside is None
        assert await record_of(registry, "", "s") is not None


async def test_a_file_of_a_newer_server_is_left_alone(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "sessions.sqlite3")) as db:
        db.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    registry = SessionRegistry(tmp_path)
    with pytest.raises(StoreError, match=r"of a newer server .*: start that one, or move"):
        await registry.open()
    assert registry.moved_aside is None
    with contextlib.closing(sqlite3.connect(tmp_path / "sessions.sqlite3")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION + 1,)


async def test_a_folder_in_the_place_of_the_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "sessions.sqlite3").mkdir()
    registry = SessionRegistry(tmp_path)
    with pytest.raises(StoreError, match="directory"):
        await registry.open()
    assert registry.moved_aside is None
    await registry.close()


async def test_records_that_can_not_be_written_are_left_alone(tmp_path: Path) -> None:
    # A write-ahead log that is a folder: the file itself is good.
    with contextlib.closing(sqlite3.connect(tmp_path / "sessions.sqlite3")) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE precious (x)")
    (tmp_path / "sessions.sqlite3-wal").mkdir()
    registry = SessionRegistry(tmp_path)
    with pytest.raises(StoreError, match="can't be opened: "):
        await registry.open()
    assert registry.moved_aside is None


async def test_records_that_fail_later(registry: SessionRegistry, tmp_path: Path) -> None:
    async with registry.hold("", "s", acquire) as session:
        await session.create("")
        with contextlib.closing(sqlite3.connect(tmp_path / "state" / "sessions.sqlite3")) as other:
            other.execute("DROP TABLE sessions")
        for write in (session.create(""), session.record_answer("m", None, 2)):
            with pytest.raises(StoreError, match="no such table: sessions"):
                await write
    with pytest.raises(StoreError, match="no such table: sessions"):
        await record_of(registry, "", "s")
    assert repr(registry).endswith("busy=[]>")


async def test_records_of_an_older_server_are_kept(tmp_path: Path) -> None:
    """As the first version made them: nobody counted messages."""
    with contextlib.closing(sqlite3.connect(tmp_path / "sessions.sqlite3")) as db:
        db.execute(
            "CREATE TABLE sessions (owner TEXT NOT NULL, session_id TEXT NOT NULL, "
            "uuid TEXT NOT NULL UNIQUE, system TEXT NOT NULL, mark TEXT, cost_usd REAL, "
            "turns INTEGER NOT NULL, created_at REAL NOT NULL, last_used REAL NOT NULL, "
            "PRIMARY KEY (owner, session_id)) STRICT"
        )
        values = ("", "s", session_uuid("", "s"), "Be kind", "m", 0.5, 3, 1.0, 2.0)
        db.execute(f"INSERT INTO sessions VALUES ({', '.join('?' * 9)})", values)
        db.execute("PRAGMA user_version=1")
        db.commit()
    for _ in range(2):
        async with reopened(tmp_path) as registry:
            assert registry.moved_aside is None
            assert await record_of(registry, "", "s") == SessionRecord(*values, messages=None)


async def test_a_list_comes_in_pages_and_reads_no_system_prompt(tmp_path: Path) -> None:
    async with reopened(tmp_path) as registry:
        for number in range(5):
            async with registry.hold("", f"s{number}", acquire) as session:
                await session.create("x" * 100_000)
        pages = [await registry.active("", 2, offset) for offset in (0, 2, 4, 6)]
        assert [len(page) for page in pages] == [2, 2, 1, 0]
        assert len({found.session_id for page in pages for found in page}) == 5
        query = "EXPLAIN QUERY PLAN SELECT session_id, turns, messages, cost_usd, created_at, last_used "
        ((*_, plan),) = await registry._records._db.rows(
            query + "FROM sessions WHERE owner = ? AND last_used > ? ORDER BY last_used DESC LIMIT 2", "", 0.0
        )
        assert "COVERING INDEX" in plan


async def test_two_servers_open_new_records_at_once(tmp_path: Path) -> None:
    both = [SessionRegistry(tmp_path) for _ in range(2)]
    await asyncio.gather(*(registry.open() for registry in both))
    for registry in both:
        assert registry.moved_aside is None
        await registry.close()


# Expiry


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def timed(tmp_path: Path, clock: Clock) -> AsyncGenerator[SessionRegistry, None]:
    made = SessionRegistry(tmp_path / "timed", 100, clock)
    await made.open()
    yield made
    await made.close()


async def begin(registry: SessionRegistry, session_id: str, owner: str = "") -> None:
    async with registry.hold(owner, session_id, acquire) as session:
        await session.create("")
        await session.record_answer("m", None, 2)


async def listed(registry: SessionRegistry, owner: str = "") -> list[str]:
    return [record.session_id for record in await registry.active(owner)]


async def test_what_is_not_used_expires(timed: SessionRegistry, clock: Clock) -> None:
    await begin(timed, "a")
    clock.now += 60
    await begin(timed, "b")
    assert await listed(timed) == ["b", "a"]
    clock.now += 39
    assert await listed(timed) == ["b", "a"]
    clock.now += 1
    assert await listed(timed) == ["b"]
    assert await timed.counts("") == SessionCounts(active=1, expired=1, messages=2)
    assert await timed.renew("", "a") is None
    assert await timed.expired([session_uuid("", name) for name in "abc"]) == {
        session_uuid("", "a"),
        session_uuid("", "c"),
    }
    # What a turn goes on from is still there; with it the session is back.
    async with timed.hold("", "a", acquire) as session:
        assert session.record is not None and session.record.mark == "m"
        await session.renew()
    assert await listed(timed) == ["a", "b"]
    assert await timed.counts("") == SessionCounts(active=2, expired=0, messages=4)


async def test_looking_renews(timed: SessionRegistry, clock: Clock) -> None:
    await begin(timed, NAME)
    for _ in range(3):
        clock.now += 99
        record = await timed.renew("", NAME.upper())
        assert record is not None and record.last_used == clock.now
        assert timed.expires_at(record) == clock.now + 100
    clock.now += 100
    assert await timed.renew("", NAME) is None


async def test_a_turn_that_lasts_longer_than_a_life(timed: SessionRegistry, clock: Clock) -> None:
    await begin(timed, "a")
    clock.now += 99
    async with timed.hold("", "a", acquire) as session:
        await session.renew()
        clock.now += 99
        assert await listed(timed) == ["a"]


async def test_everybody_sees_their_own(timed: SessionRegistry) -> None:
    for owner in ("x", "y"):
        await begin(timed, "shared name", owner)
    await begin(timed, NAME, "x")
    assert await listed(timed, "x") == [NAME, "shared name"]
    assert await listed(timed, "y") == ["shared name"]
    assert await listed(timed, "z") == []
    assert await timed.counts("y") == SessionCounts(active=1, expired=0, messages=2)
    assert await timed.counts("z") == SessionCounts(active=0, expired=0, messages=0)
    before = await timed.renew("x", NAME)
    assert await timed.renew("y", NAME) is None
    assert await record_of(timed, "x", NAME) == before


async def test_what_is_forgotten_is_gone(timed: SessionRegistry) -> None:
    await begin(timed, "a")
    async with timed.hold("", "a", acquire) as session:
        await session.delete()
        assert session.record is None
    assert await record_of(timed, "", "a") is None
    assert await timed.counts("") == SessionCounts(active=0, expired=0, messages=0)


# One turn at a time


async def test_a_second_turn_waits_for_the_first(registry: SessionRegistry) -> None:
    queue = Queue()
    order: list[str] = []

    async def second() -> None:
        async with registry.hold("", NAME.upper(), queue) as session:
            order.append("second")
            assert session.record is not None and session.record.mark == "m"

    async with registry.hold("", NAME, acquire) as session:
        task = asyncio.create_task(second())
        await queue.waits.wait()
        assert repr(registry) == f"<SessionRegistry state busy=['{NAME}']>"
        await session.create("")
        await session.record_answer("m", None, 2)
        order.append("first")
    await task
    assert order == ["first", "second"]
    assert queue.met == [True, False]
    assert repr(registry) == "<SessionRegistry state busy=[]>"


async def test_many_turns_of_one_session_never_overlap(registry: SessionRegistry) -> None:
    inside = 0
    most = 0

    async def turn() -> None:
        nonlocal inside, most
        async with registry.hold("", "s", acquire) as session:
            inside += 1
            most = max(most, inside)
            if session.record is None:
                await session.create("")
            await session.record_answer("m", None, 2)
            inside -= 1

    await asyncio.gather(*(turn() for _ in range(20)))
    found = await record_of(registry, "", "s")
    assert found is not None
    assert (most, found.turns) == (1, 20)
    assert repr(registry).endswith("busy=[]>")


async def test_different_sessions_do_not_wait_for_each_other(registry: SessionRegistry) -> None:
    async with registry.hold("", "s", acquire):
        queue = Queue()
        async with registry.hold("", "t", queue), registry.hold("x", "s", queue):
            assert queue.met == [False] * 4
            assert repr(registry).count(",") == 2
    assert repr(registry).endswith("busy=[]>")


async def test_who_gives_up_waiting_leaves_nothing_behind(registry: SessionRegistry) -> None:
    async def turn(queue: Queue) -> None:
        async with registry.hold("", "s", queue):
            raise AssertionError("held a session after giving up")

    async with registry.hold("", "s", acquire):
        for _ in range(3):
            queue = Queue()
            task = asyncio.create_task(turn(queue))
            await queue.waits.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    assert repr(registry).endswith("busy=[]>")
    async with registry.hold("", "s", Queue()) as session:
        assert session.record is None


async def test_a_queue_that_refuses_leaves_nothing_behind(registry: SessionRegistry) -> None:
    async def refuse(lock: Lock) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        async with registry.hold("", "s", refuse):
            raise AssertionError("held a session that was refused")
    assert repr(registry).endswith("busy=[]>")
