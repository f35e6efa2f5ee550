"""A CLI whose self-test came to no end is tried again until it is known what it can do."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

from claude_server.core.errors import CliFailed
from claude_server.core.model import AttemptRequest, Message, TurnDone, TurnRequest
from claude_server.engine.binary import BinaryEngine, EngineOptions
from claude_server.engine.discovery import retest, selftest
from claude_server.engine.discovery.retest import AbilityKeeper
from claude_server.engine.engine import CliEngine
from claude_server.engine.processes.binary_cache import signature_of
from claude_server.engine.workers.state import Abilities
from tests.e2e.faulty import write_fake
from tests.engine.scripted import ABLE

DOUBTFUL = Abilities(stream_json=True, inject=True, literal_slash=True)
REQUEST = AttemptRequest(TurnRequest("t", Message("user", ("hi",))), "", ())
PATIENCE = 30.0


class SelfTests:
    """Stands for the self-test: gives `results` in turn, the last one for ever. All but the first wait until
    they may end."""

    def __init__(self, *results: tuple[Abilities, bool] | Exception) -> None:
        self.results = list(results)
        self.begun = 0
        self.running = 0
        self.may_end = asyncio.Event()

    async def run(self, binary: str, path: str) -> tuple[Abilities, bool]:
        self.begun += 1
        self.running += 1
        try:
            if self.begun > 1:
                await self.may_end.wait()
        finally:
            self.running -= 1
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        if isinstance(result, Exception):
            raise result
        return result


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retest, "_FIRST_PAUSE", 0.05)
    monkeypatch.setattr(retest, "_LOOK_EVERY", 0.01)


@asynccontextmanager
async def engine_with(
    tests: SelfTests, folder: Path, monkeypatch: pytest.MonkeyPatch, mode: str = "good"
) -> AsyncIterator[CliEngine]:
    monkeypatch.setattr(selftest, "run", tests.run)
    write_fake(folder / "claude", mode)
    environ = {"PATH": os.defpath, "HOME": str(folder)}
    engine = CliEngine(str(folder / "claude"), folder / "state", environ, EngineOptions())
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def until(true: Callable[[], bool]) -> None:
    async def wait() -> None:
        while not true():  # noqa: ASYNC110 (the engine tells nobody)
            await asyncio.sleep(0.01)

    await asyncio.wait_for(wait(), PATIENCE)


def kept(folder: Path) -> Abilities | None:
    store = selftest.AbilityStore(folder / "state" / "abilities.json")
    return store.load(signature_of(str(folder / "claude")))


async def test_what_is_in_doubt_is_tried_again_and_put_to_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tests = SelfTests((DOUBTFUL, False), (ABLE, True))
    with structlog.testing.capture_logs() as logs:
        async with engine_with(tests, tmp_path, monkeypatch) as engine:
            assert engine.state.level == "spawn" and kept(tmp_path) is None
            tests.may_end.set()
            await until(lambda: engine.state.level == "warm")
            assert engine.state.ready and kept(tmp_path) == ABLE
            # Nothing more is to be done.
            keeper = engine._installation._keeper
            await until(lambda: keeper.task is None or keeper.task.done())
            assert tests.begun == 2
            events = [event async for event in engine.open(REQUEST)]
            assert isinstance(events[-1], TurnDone)
    (warning,) = [entry for entry in logs if entry["log_level"] == "warning"]
    assert "tried again in the background" in warning["event"] and warning["level"] == "spawn"


async def test_a_second_doubt_and_trouble_are_not_the_last_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = ((DOUBTFUL, False), (ABLE, False), OSError(28, "No space left on device"), CliFailed("no"))
    tests = SelfTests(*results, (ABLE, True))
    async with engine_with(tests, tmp_path, monkeypatch) as engine:
        assert engine.state.level == "spawn"
        tests.may_end.set()
        await until(lambda: engine.state.level == "warm")
        assert tests.begun == 5


async def test_what_turns_out_to_be_true_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tests = SelfTests((DOUBTFUL, False), (DOUBTFUL, True))
    async with engine_with(tests, tmp_path, monkeypatch) as engine:
        before = engine._installation.engine
        tests.may_end.set()
        await until(lambda: kept(tmp_path) == DOUBTFUL)
        assert engine._installation._keeper.task is not None
        await asyncio.wait_for(engine._installation._keeper.task, PATIENCE)
        assert engine._installation.engine is before


async def test_a_try_waits_until_no_turn_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tests = SelfTests((DOUBTFUL, False), (ABLE, True))
    tests.may_end.set()
    monkeypatch.setattr(selftest, "run", tests.run)
    write_fake(tmp_path / "claude", "good")
    binary, looks, renewed = str(tmp_path / "claude"), iter([False, False, False, True]), []

    async def renew() -> bool:
        assert next(looks, None) is None
        renewed.append(tests.begun)
        return True

    keeper = AbilityKeeper(tmp_path / "state", os.defpath, lambda: next(looks), renew)
    assert await keeper.abilities(binary, signature_of(binary)) == DOUBTFUL
    assert keeper.task is not None
    await asyncio.wait_for(keeper.task, PATIENCE)
    assert renewed == [2]


async def test_a_turn_that_comes_meanwhile_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends on the engine of before."""
    tests = SelfTests((DOUBTFUL, False), (ABLE, True))
    async with engine_with(tests, tmp_path, monkeypatch, "goes on when told") as engine:
        await until(lambda: tests.running == 1 and engine._installation.is_idle())
        turn = engine.open(REQUEST)
        seen = [await anext(turn)]
        assert not engine._installation.is_idle()
        tests.may_end.set()
        await until(lambda: engine.state.level == "warm")
        (tmp_path / "go-on").touch()
        seen += [event async for event in turn]
        assert isinstance(seen[-1], TurnDone) and seen[-1].engine == "spawn"
        turn.close()
        await until(engine._installation.is_idle)


async def test_a_use_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found is known; the CLI isn't tried out once more for it."""
    tests = SelfTests((DOUBTFUL, False), (ABLE, True))
    async with engine_with(tests, tmp_path, monkeypatch) as engine:
        builder = engine._installation._builder
        build = builder.build
        failures: list[OSError] = []

        async def fail_first(keeper: AbilityKeeper) -> BinaryEngine:
            if not failures:
                failures.append(OSError(28, "No space left on device"))
                raise failures[0]
            return await build(keeper)

        monkeypatch.setattr(builder, "build", fail_first)
        tests.may_end.set()
        await until(lambda: engine.state.level == "warm")
        assert failures and tests.begun == 2 and engine.state.ready


async def test_another_cli_is_looked_at_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found of the one before, at last, isn't kept."""
    tests = SelfTests((DOUBTFUL, False), (ABLE, True))
    async with engine_with(tests, tmp_path, monkeypatch) as engine:
        await until(lambda: tests.running == 1)
        task = engine._installation._keeper.task
        assert task is not None
        write_fake(tmp_path / "claude", "good", "2.1.331")
        tests.may_end.set()
        await asyncio.wait_for(task, PATIENCE)
        assert tests.begun == 2 and kept(tmp_path) is None and engine.state.level == "spawn"
        events = [event async for event in engine.open(REQUEST)]
        assert isinstance(events[-1], TurnDone)
        assert engine.state.cli_version == "2.1.331" and engine.state.level == "warm"


@pytest.mark.parametrize("running", [False, True])
async def test_nothing_is_left_after_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, running: bool
) -> None:
    tests = SelfTests((DOUBTFUL, False), (ABLE, True))
    before = asyncio.all_tasks()
    async with engine_with(tests, tmp_path, monkeypatch):
        if running:
            await until(lambda: tests.running == 1)
    assert tests.running == 0 and asyncio.all_tasks() == before
    assert kept(tmp_path) is None


def test_tries_become_rarer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retest, "_FIRST_PAUSE", 30)
    assert list(itertools.islice(retest.pauses(), 7)) == [30, 60, 120, 240, 480, 600, 600]
