"""Going down: who is let in, who is waited for, who is cut."""

from __future__ import annotations

import asyncio

import pytest

from claude_server.core.drain import Drain
from claude_server.core.errors import ShuttingDown

LONG = 600.0


async def test_without_a_turn_it_is_over_at_once() -> None:
    drain = Drain()
    await drain.run(LONG)
    assert drain.begun and drain.cut


async def test_a_running_turn_is_waited_for_and_a_new_one_refused() -> None:
    drain = Drain()
    with drain.turn():
        going = asyncio.create_task(drain.run(LONG))
        await asyncio.sleep(0)
        assert drain.begun and not drain.cut
        with pytest.raises(ShuttingDown) as refused, drain.turn():
            pass
        assert refused.value.retry_after is not None and not refused.value.retryable
    await going
    assert drain.cut and drain.turns == 0


async def test_what_takes_too_long_is_stopped() -> None:
    drain = Drain()
    stopped: list[str] = []
    with drain.turn(), drain.on_cut(lambda: stopped.append("first")):
        with drain.on_cut(lambda: stopped.append("left before")):
            pass
        await drain.run(0.01)
        assert stopped == ["first"]
        # Who comes to wait after the cut doesn't wait.
        with drain.on_cut(lambda: stopped.append("late")):
            assert stopped == ["first", "late"]


async def test_a_second_word_ends_it_at_once() -> None:
    drain = Drain()
    stopped: list[str] = []
    with drain.turn(), drain.on_cut(lambda: stopped.append("cut")):
        going = asyncio.create_task(drain.run(LONG))
        await asyncio.sleep(0)
        drain.end()
        await going
        assert stopped == ["cut"] and repr(drain) == "<Drain turns=1 begun=True cut=True>"


async def test_an_end_without_a_beginning() -> None:
    drain = Drain()
    drain.end()
    with pytest.raises(ShuttingDown), drain.turn():
        pass
    await drain.run(LONG)
