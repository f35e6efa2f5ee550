"""What the port of kept responses promises, held against every implementation word for word; the bounds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from claude_server.core.entry import Entry
from claude_server.core.errors import ConversationNotFound, PreviousNotFound, RequestTooLarge
from claude_server.core.ports import ChainSize, ResponseStore, StoreError, StoreTotals
from claude_server.core.responses import Bounds, KeptResponses, NotKept
from tests.stores.implementations import Implementation
from tests.stores.other_server import OtherServer
from tests.support import Clock

pytestmark = pytest.mark.asyncio


@pytest.fixture
async def store(kind: Implementation, tmp_path: Path) -> AsyncGenerator[ResponseStore, None]:
    made = kind.responses(tmp_path)
    await made.open()
    yield made
    await made.close()


def item(id: str, **more: object) -> dict[str, object]:
    return {"id": id, "type": "message", **more}


def entry(id: str, owner: str = "", used: float = 100.0, **fields: object) -> Entry:
    """A response with an item of its input and one of its output."""
    given, said = item(f"in_{id}"), item(f"out_{id}", text="\N{SNOWMAN} 'x' \"y\"\n")
    made = Entry(
        *(owner, id, "response", used, used),
        item_ids=(f"in_{id}", f"out_{id}"),
        body='{"status": "completed"}',
        input=json.dumps([given]),
        output=json.dumps([said]),
    )
    return replace(made, **fields)  # type: ignore[arg-type]


async def test_an_entry_is_kept_as_it_is(store: ResponseStore, kind: Implementation, tmp_path: Path) -> None:
    kept = entry("a", "key", 100.25, previous="b", conversation="c")
    large = entry("b", "key", output=json.dumps([item("x", text="\N{SNOWMAN}" * 2_000_000)]))
    for one in (kept, large):
        await store.save(one)
        assert await store.load("key", one.id, 0) == one
    await store.close()
    again = kind.responses(tmp_path)
    await again.open()
    assert await again.load("key", "a", 0) == kept and await again.load("key", "b", 0) == large
    await again.close()


async def test_an_entry_takes_the_place_of_another(store: ResponseStore) -> None:
    first = entry("a", conversation="c")
    await store.save(first)
    await store.save(entry("b", conversation="c"))
    changed = replace(first, item_ids=("new",), output=json.dumps([item("new")]))
    await store.save(changed)
    assert await store.load("", "a", 0) == changed
    assert [found.id for found in await store.of_conversation("", "c")] == ["a", "b"]
    assert await store.items("", ["out_a", "new"], 0) == {
        "new": json.dumps(item("new"), separators=(",", ":"))
    }


async def test_owners_meet_nowhere(store: ResponseStore) -> None:
    for owner in ("a", "b"):
        await store.save(entry("1", owner, body=json.dumps(owner), conversation="c"))
        await store.save(entry("2", owner, previous="1"))
    for owner in ("a", "b"):
        found = await store.load(owner, "1", 0)
        assert found is not None and found.body == json.dumps(owner)
        assert [one.owner for one in await store.chain(owner, "2", 0, 9)] == [owner, owner]
        assert [one.owner for one in await store.of_conversation(owner, "c")] == [owner]
        assert (await store.totals(owner)).count == 2
    assert await store.load("", "1", 0) is None and await store.items("", ["in_1"], 0) == {}
    assert await store.chain("A", "2", 0, 9) == [] and await store.of_conversation("", "c") == []
    assert await store.delete("", ["1", "2"]) == 0
    assert await store.delete("a", ["1", "2", "3"]) == 2
    assert await store.load("a", "1", 0) is None and await store.load("b", "1", 0) is not None
    assert await store.items("a", ["in_1"], 0) == {} and len(await store.items("b", ["in_1"], 0)) == 1


async def test_a_chain_is_a_branch_of_a_tree(store: ResponseStore) -> None:
    for id, previous in (("1", ""), ("2", "1"), ("3", "2"), ("2b", "1"), ("3b", "2b")):
        await store.save(entry(id, previous=previous))
    for id, branch in (("3", ["1", "2", "3"]), ("3b", ["1", "2b", "3b"]), ("1", ["1"]), ("none", [])):
        found = await store.chain("", id, 0, 9)
        assert [one.id for one in found] == branch
        size = sum(len((one.body + one.input + one.output).encode()) for one in found)
        assert await store.chain_size("", id, 0, 9) == ChainSize(len(branch), size, "" if branch else id)
    assert (await store.chain_size("", "3", 0, 1)).missing == "1"
    await store.delete("", ["2"])
    assert (await store.chain_size("", "3", 0, 9)).missing == "2"
    # Only a response can be followed on.
    await store.save(entry("conv", kind="conversation"))
    assert (await store.chain_size("", "conv", 0, 9)).missing == "conv"
    # A circle, which nobody makes, has an end.
    await store.save(entry("x", previous="x"))
    assert (await store.chain_size("", "x", 0, 5)).count == 6


async def test_what_is_too_old_is_not_there(store: ResponseStore) -> None:
    await store.save(entry("old", used=100.0))
    await store.save(entry("new", used=100.5, previous="old"))
    assert await store.load("", "old", 100.0) is None and await store.load("", "new", 100.0) is not None
    assert (await store.chain_size("", "new", 100.0, 9)).missing == "old"
    assert [*await store.items("", ["in_old", "in_new"], 100.0)] == ["in_new"]
    assert await store.expire(100.0) == 1
    assert await store.load("", "old", 0) is None and await store.items("", ["in_old"], 0) == {}


async def test_the_newest_stay(store: ResponseStore) -> None:
    for number in range(6):
        await store.save(entry(str(number), used=100.0 + number))
    await store.save(entry("other", "key", used=1.0))
    one = (await store.totals("key")).size
    assert await store.totals("") == StoreTotals(6, 6 * (one - 8))
    assert await store.keep_newest("", 4, 10**9) == 2
    assert [await store.load("", str(number), 0) is None for number in range(6)] == [True] * 2 + [False] * 4
    assert await store.keep_newest("", 9, 2 * one) == 2
    assert (await store.totals("")).count == 2 and (await store.totals("key")).count == 1
    # A conversation goes as a whole.
    await store.save(entry("c", kind="conversation"))
    await store.save(entry("part", conversation="c"))
    await store.touch("", "c", 300.0)
    assert [found.used_at for found in await store.of_conversation("", "c")] == [300.0]
    assert await store.keep_newest("", 1, 10**9) == 3
    assert (await store.totals("")).count == 0


async def test_what_is_not_open(kind: Implementation, tmp_path: Path) -> None:
    store = kind.responses(tmp_path)
    for _ in range(2):
        await store.close()
        for call in (store.load("", "x", 0), store.save(entry("a")), store.totals("")):
            with pytest.raises(RuntimeError, match=r"open\(\) was not called"):
                await call


async def test_several_open_a_new_place_at_once(kind: Implementation, tmp_path: Path) -> None:
    stores = [kind.responses(tmp_path) for _ in range(4)]
    await asyncio.gather(*(store.open() for store in stores))
    await stores[0].save(entry("a"))
    for store in stores:
        assert await store.load("", "a", 0) == entry("a")
        await store.close()


async def test_records_of_a_newer_server_are_left_alone(
    store: ResponseStore, kind: Implementation, tmp_path: Path
) -> None:
    await store.save(entry("a"))
    await store.close()
    kind.make_newer(tmp_path)
    for _ in range(2):
        with pytest.raises(StoreError, match="newer server"):
            await kind.responses(tmp_path).open()


async def test_what_was_written_outlives_a_kill(
    store: ResponseStore, another: Callable[[], AbstractContextManager[OtherServer]]
) -> None:
    with another() as other:
        other.ask("keep", asdict(entry("a")))
        for number in range(20):
            other.tell(
                "keep", asdict(entry(f"b{number}", output=json.dumps([item("x", text="x" * 500_000)])))
            )
        other.kill()
    assert await store.load("", "a", 0) == entry("a")
    for number in range(20):
        found = await store.load("", f"b{number}", 0)
        # Whole, with its items, or not at all.
        assert (found is None) == (f"in_b{number}" not in await store.items("", [f"in_b{number}"], 0))


async def test_a_full_disk_changes_nothing(
    store: ResponseStore, kind: Implementation, tmp_path: Path
) -> None:
    await store.save(entry("a"))
    with kind.full(tmp_path):
        for one in (entry("a", output=json.dumps([item("x", text="x" * 1_000_000)])), entry("b")):
            with pytest.raises(StoreError):
                await store.save(one)
        assert await store.load("", "a", 0) == entry("a") and await store.load("", "b", 0) is None
    await store.save(entry("b"))
    assert await store.load("", "b", 0) == entry("b")


# Within bounds


async def test_the_oldest_give_way(store: ResponseStore) -> None:
    clock = Clock()
    kept = KeptResponses(store, Bounds(seconds=60.0, count=5), clock=clock)
    for number in range(9):
        clock.now += 1
        await kept.save(entry(str(number)))
        assert (await store.totals("")).count == min(number + 1, 5)
    assert await kept.load("", "3") is None and await kept.load("", "4") is not None
    clock.now += 58
    assert await kept.load("", "6") is None and await kept.load("", "8") is not None
    assert await kept.expire() == 3
    few = KeptResponses(store, Bounds(size=1000), clock=clock)
    for number in range(9):
        await few.save(entry(f"s{number}"))
        assert (await store.totals("")).size <= 1000
    with pytest.raises(NotKept, match="RESPONSES_SIZE"):
        await few.save(entry("large", body=json.dumps("x" * 1000)))
    with pytest.raises(NotKept, match="RESPONSES_MAX"):
        await KeptResponses(store, Bounds(count=0)).save(entry("a"))


async def test_what_can_be_gone_on_with(store: ResponseStore) -> None:
    kept = KeptResponses(store, Bounds(), load_limit=1000)
    await kept.save(entry("1"))
    await kept.save(entry("2", previous="1"))
    assert [found.id for found in await kept.chain("", "2")] == ["1", "2"]
    with pytest.raises(PreviousNotFound, match="'x' not found"):
        await kept.chain("", "x")
    await kept.save(entry("3", previous="2", body=json.dumps("x" * 1000)))
    with pytest.raises(RequestTooLarge):
        await kept.chain("", "3")
    with pytest.raises(ConversationNotFound):
        await kept.conversation("", "1")
    await kept.save(entry("c", kind="conversation"))
    await kept.save(entry("4", conversation="c"))
    assert [found.id for found in await kept.conversation("", "c")] == ["4"]
    assert await kept.delete("", "c") and not await kept.delete("", "c")
    assert await kept.load("", "4") is None
