"""Talking to a process outside of a turn."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from claude_server.core.errors import CliFailed, NotReady, TurnTimeout
from claude_server.engine.processes.step_runner import StepRunner
from claude_server.engine.protocol.control import initialize
from claude_server.engine.protocol.frames import Frame
from tests.engine.scripted import ScriptedProcess


class Greeting:
    """A process that was greeted and has not answered yet."""

    def __init__(self) -> None:
        self.process = ScriptedProcess("silence")
        runner = StepRunner(self.process)
        self.task: asyncio.Task[Sequence[Frame]] = asyncio.get_running_loop().create_task(
            runner.run([initialize("S")], 5.0)
        )

    async def begun(self) -> str:
        """The id of the greeting, once it was written."""
        await asyncio.sleep(0)
        (line,) = self.process.written
        assert line["request"] == {"subtype": "initialize", "systemPrompt": "S"}
        return str(line["request_id"])

    def answer(self, request_id: str, subtype: str = "success", **more: Any) -> None:
        response = {"subtype": subtype, "request_id": request_id, **more}
        self.process.say({"type": "control_response", "response": response})


async def test_an_answer() -> None:
    greeting = Greeting()
    request_id = await greeting.begun()
    greeting.process.say({"type": "system", "subtype": "hook"})
    greeting.answer("somebody else's")
    assert not greeting.task.done()
    greeting.answer(request_id, response={"models": []})
    assert await greeting.task == [{"models": []}]


async def test_a_refusal() -> None:
    greeting = Greeting()
    greeting.answer(await greeting.begun(), "error", error="made up")
    with pytest.raises(CliFailed, match="made up"):
        await greeting.task


async def test_what_the_process_asks_for_meanwhile_is_refused() -> None:
    greeting = Greeting()
    request_id = await greeting.begun()
    greeting.process.say({"type": "control_request", "request_id": "theirs", "request": {"subtype": "x"}})
    assert greeting.process.written[-1]["response"]["request_id"] == "theirs"
    greeting.answer(request_id)
    await greeting.task


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "control_response"},
        {"type": "control_response", "response": None},
        {"type": "control_response", "response": {}},
        {"type": "control_request"},
    ],
)
async def test_an_answer_of_an_unknown_shape(frame: dict[str, Any]) -> None:
    greeting = Greeting()
    await greeting.begun()
    greeting.process.say(frame)
    with pytest.raises(CliFailed, match="makes no sense"):
        await greeting.task


async def test_a_process_that_ends() -> None:
    greeting = Greeting()
    await greeting.begun()
    greeting.process.exit(1, "error: unknown option '--tools'\n")
    with pytest.raises(NotReady, match="too old"):
        await greeting.task


async def test_a_process_that_has_ended_before() -> None:
    process = ScriptedProcess()
    process.exit(1, "out of order")
    with pytest.raises(CliFailed, match="out of order"):
        await StepRunner(process).run([initialize("")], 5.0)


async def test_silence() -> None:
    with pytest.raises(TurnTimeout, match=r"within 0\.01 s"):
        await StepRunner(ScriptedProcess("silence")).run([initialize("")], 0.01)


async def test_a_process_that_broke() -> None:
    greeting = Greeting()
    await greeting.begun()
    assert greeting.process.listener is not None
    greeting.process.listener.ended("wrote nonsense")
    with pytest.raises(CliFailed, match="wrote nonsense"):
        await greeting.task
