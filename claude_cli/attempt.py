"""One try at a turn: an async iterator fed by the process's callbacks."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from claude_cli.control import Dialogue, Step
from claude_cli.events import TurnTranslator, error_from_exit
from claude_cli.frames import Frame
from claude_cli.process import CliProcess
from turns.errors import CliFailed, TurnError
from turns.model import TurnEvent


class CliAttempt:
    """Starts with `start`, then talks `steps`. Not a task: frames come in as callbacks, events go out by
    iteration. `retire` takes the process back, `now` meaning that it can't be trusted to end by itself.
    """

    def __init__(
        self,
        start: Callable[[], Awaitable[CliProcess]],
        steps: Sequence[Step],
        translator: TurnTranslator,
        retire: Callable[[CliProcess, bool], None],
    ) -> None:
        self._retire = retire
        self._translator = translator
        self._dialogue = Dialogue(steps, translator)
        self._events: deque[TurnEvent] = deque()
        self._error: TurnError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._process: CliProcess | None = None
        self._closed = False
        # The start belongs to the server, not to the request: a cancelled request must not cut it in two.
        self._starting = asyncio.get_running_loop().create_task(self._begin(start))

    async def _begin(self, start: Callable[[], Awaitable[CliProcess]]) -> None:
        try:
            process = await start()
        except TurnError as error:
            self.fail(error)
            return
        if self._closed:
            self._retire(process, True)
            return
        self._process = process
        if process.ended:
            self.ended(None)
            return
        process.listener = self
        process.write(self._dialogue.start())

    def frame(self, frame: Frame) -> None:
        """A frame of the process."""
        try:
            data, events = self._dialogue.receive(frame)
        except TurnError as error:
            self.fail(error)
            return
        except (KeyError, TypeError, AttributeError) as error:
            # A known frame in an unknown shape: this CLI isn't one we understand.
            self.fail(CliFailed(f"The claude CLI sent a {frame['type']} line that makes no sense: {error!r}"))
            return
        if data and self._process is not None:
            self._process.write(data)
        if events:
            self._events.extend(events)
            self._wake()

    def ended(self, problem: str | None) -> None:
        """The process ended."""
        if self._translator.done or self._process is None:
            return
        if problem is not None:
            self.fail(CliFailed(f"The claude CLI {problem}."))
        else:
            self.fail(error_from_exit(self._process.returncode, self._process.stderr))

    def fail(self, error: TurnError) -> None:
        """End the iteration with `error`, after the events that came before it."""
        if self._error is None and not self._translator.done:
            self._error = error
            self._wake()

    def close(self) -> None:
        """Give the process back."""
        self._closed = True
        process, self._process = self._process, None
        if process is not None:
            self._retire(process, not (self._translator.done and self._translator.clean))

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> CliAttempt:
        return self

    async def __anext__(self) -> TurnEvent:
        while not self._events:
            if self._error is not None:
                raise self._error
            if self._translator.done:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._events.popleft()
