"""Schemas with references are held against elsewhere, so that no answer can stop the server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from turns.answer import AnswerFormat
from turns.check import AnswerCheck
from turns.errors import InvalidAnswer
from turns.model import TextDelta, TurnDone, Usage
from turns.verify import fed

DONE = TurnDone("end_turn", Usage(), "m", None, 1)


def doubled(times: int) -> AnswerFormat:
    """Each part refers to the next one twice: 2 to the power of `times` looks at one value."""
    parts: dict[str, Any] = {
        f"p{i}": {"anyOf": [{"$ref": f"#/$defs/p{i + 1}"}] * 2} for i in range(times)
    } | {f"p{times}": {"type": "string"}}
    return AnswerFormat(json.dumps({"$ref": "#/$defs/p0", "$defs": parts}))


async def ended(form: AnswerFormat, text: str) -> None:
    """Feed a whole answer."""
    check = AnswerCheck(form)
    assert await fed(check, TextDelta(text)) == (TextDelta(text),)
    assert await fed(check, DONE) == (DONE,)


async def test_right_and_wrong_answers() -> None:
    await ended(doubled(2), '"é"')
    with pytest.raises(InvalidAnswer, match="half a character"):
        await ended(doubled(2), '"\\ud800"')
    with pytest.raises(InvalidAnswer, match="'anyOf' fails at the top"):
        await ended(doubled(2), "1")
    with pytest.raises(InvalidAnswer, match="not the JSON"):
        await ended(doubled(2), "{")


async def test_a_check_without_an_end_does_not_stop_the_others() -> None:
    asked = asyncio.create_task(ended(doubled(60), "1"))
    loop = asyncio.get_running_loop()
    longest = 0.0
    while not asked.done():
        began = loop.time()
        await asyncio.sleep(0.01)
        longest = max(longest, loop.time() - began)
    with pytest.raises(InvalidAnswer, match="too long"):
        await asked
    assert longest < 2


async def test_a_turn_that_is_given_up_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    started: asyncio.Queue[asyncio.subprocess.Process] = asyncio.Queue()
    start = asyncio.create_subprocess_exec

    async def noted(*words: Any, **options: Any) -> asyncio.subprocess.Process:
        process = await start(*words, **options)
        started.put_nowait(process)
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
    asked = asyncio.create_task(ended(doubled(60), "1"))
    process = await started.get()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert await asyncio.wait_for(process.wait(), 10) == -9
