"""Claude processes kept open and driven by hand, with no HTTP in between: the ceiling of a warm design."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from lab.bench import programs
from lab.bench.contestants import LEAN_ARGUMENTS, LEAN_ENVIRONMENT
from lab.bench.load import PATIENCE, Answer, AskFailed
from lab.bench.stats import Cpu
from lab.bench.workloads import SYSTEM, Turn

_STREAMED = ("--input-format", "stream-json", "--output-format", "stream-json", "--verbose")
_STARTS_AT_A_TIME = 2
_END_WITHIN = 2.0
# Less than the load generator waits: it is we who replace the process.
_TURN_WITHIN = PATIENCE / 2
_ids = itertools.count(1)

Line = dict[str, Any]


def user_line(text: str, *, query: bool = True) -> Line:
    message = {"role": "user", "content": [{"type": "text", "text": text}]}
    line: Line = {"type": "user", "message": message, "parent_tool_use_id": None, **_identity()}
    return line if query else {**line, "shouldQuery": False}


def assistant_line(text: str) -> Line:
    message = {
        "id": f"msg_{uuid.uuid4().hex}",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [{"type": "text", "text": text}],
    }
    return {"type": "assistant", "message": message, "parent_tool_use_id": None, **_identity()}


def boundary_line() -> Line:
    metadata = {"trigger": "manual", "pre_tokens": 0}
    return {
        "type": "system",
        "subtype": "compact_boundary",
        "compact_metadata": metadata,
        **_identity(),
    }


def _identity() -> Line:
    return {"session_id": "", "uuid": str(uuid.uuid4())}


def writes(turn: Turn, *, held: bool) -> list[list[Line]]:
    """What is written for a turn; all but the last write are answered by a result that asked nothing."""
    if held:
        return [[user_line(turn.question)]]
    result: list[list[Line]] = []
    pending = [boundary_line()]
    for question, answer in turn.history:
        result.append([*pending, user_line(question, query=False)])
        pending = [assistant_line(answer)]
    return [*result, [*pending, user_line(turn.question)]]


def _result(line: bytes) -> Line | None:
    """The result that a line is, if it is one. Only likely lines are parsed: this is to be the ceiling."""
    if line.startswith(b'{"type":"stream_event"') or b'"type":"result"' not in line:
        return None
    parsed: Line = json.loads(line)
    return parsed if parsed.get("type") == "result" else None


class Worker:
    """One process and the conversation that it holds."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.held: tuple[tuple[str, str], ...] | None = None

    async def greet(self) -> None:
        """Give it its system prompt, and wait until it has it."""
        request = {"subtype": "initialize", "systemPrompt": SYSTEM}
        self._write([{"type": "control_request", "request_id": f"b{next(_ids)}", "request": request}])
        while not (await self._line()).startswith(b'{"type":"control_response"'):
            pass

    async def turn(self, turn: Turn) -> Answer:
        held = bool(turn.history) and self.held == turn.history
        self.held = None
        *before, asked = writes(turn, held=held)
        for lines in before:
            self._write(lines)
            while _result(await self._line()) is None:
                pass
        self._write(asked)
        return await self._answer(turn)

    async def _answer(self, turn: Turn) -> Answer:
        first = 0.0
        while True:
            line = await self._line()
            if not first and b'"text_delta"' in line:
                first = time.perf_counter()
            if (result := _result(line)) is not None:
                if result.get("is_error"):
                    raise AskFailed(str(result.get("result"))[:200])
                text = str(result["result"])
                self.held = (*turn.history, (turn.question, text))
                return Answer(text, first or time.perf_counter())

    def _write(self, lines: Sequence[Line]) -> None:
        assert self.process.stdin is not None
        data = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        self.process.stdin.write(data.encode())

    async def _line(self) -> bytes:
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        if not line:
            raise AskFailed("the process ended")
        return line


class BareLoop:
    """`size` processes; the most recently used one first, but for a conversation that one of them holds."""

    def __init__(self, cli: str, env: Mapping[str, str], folder: Path, size: int) -> None:
        self._argv = [cli, "-p", *_STREAMED, "--include-partial-messages", *LEAN_ARGUMENTS]
        self._env = {**env, **LEAN_ENVIRONMENT, "CLAUDE_CODE_TMPDIR": env["TMPDIR"]}
        self._folder = folder
        self._size = size
        self._all: list[Worker] = []
        self._idle: list[Worker] = []
        self._free = asyncio.Semaphore(0)
        self._starts = asyncio.Semaphore(_STARTS_AT_A_TIME)

    async def start(self) -> None:
        await asyncio.gather(*(self._add() for _ in range(self._size)))

    async def close(self) -> None:
        await asyncio.gather(
            *(programs.end(w.process, signal.SIGTERM, _END_WITHIN) for w in self._all), return_exceptions=True
        )

    def cpu(self) -> Cpu:
        return Cpu(0.0, sum(programs.cpu_seconds(process) for process in self.workers()))

    def workers(self) -> Sequence[psutil.Process]:
        found = []
        for worker in self._all:
            with contextlib.suppress(psutil.Error):
                found.append(psutil.Process(worker.process.pid))
        return found

    async def ask(self, turn: Turn, stream: bool) -> Answer:
        await self._free.acquire()
        holder = next((w for w in self._idle if turn.history and w.held == turn.history), None)
        worker = holder or self._idle[-1]
        self._idle.remove(worker)
        try:
            answer = await asyncio.wait_for(worker.turn(turn), _TURN_WITHIN)
        except BaseException as error:
            # Cut in the middle, nobody knows what it would say next. Its CPU stays with those that ended.
            await programs.end(worker.process, signal.SIGKILL, _END_WITHIN)
            self._all.remove(worker)
            if isinstance(error, (AskFailed, asyncio.TimeoutError)):
                await self._add()
            raise
        self._idle.append(worker)
        self._free.release()
        return answer

    async def _add(self) -> None:
        async with self._starts:
            worker = Worker(await programs.spawn(self._argv, self._env, self._folder))
            self._all.append(worker)
            await worker.greet()
        self._idle.append(worker)
        self._free.release()
