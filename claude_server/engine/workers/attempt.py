"""One attempt at a turn: an async iterator of events, fed by the process's callbacks."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from claude_server.core.errors import CliFailed, ProcessSilent, TurnError
from claude_server.core.model import TextDelta, ThinkingDelta, ToolCallDelta, TurnEvent
from claude_server.engine.processes.step_runner import MALFORMED_FRAME, check_texts, malformed_frame
from claude_server.engine.protocol.failures import error_from_exit
from claude_server.engine.protocol.frames import Frame
from claude_server.engine.workers.attempt_spec import AttemptSpec, Script
from claude_server.engine.workers.login import LoginUse
from claude_server.engine.workers.worker import Worker

# An interrupted CLI answers within some 25 ms, and so comes the result of a whole answer, unless the API
# leaves the connection open.
_RESULT_TIMEOUT = 2.0
# A process answers its first line within milliseconds; on a machine under load within some 200.
_SILENT_AFTER = 2.0
# While it waits at a call, a CLI writes its transcript some 100 ms after the fact.
_LOOK_EVERY = 0.01
_KEPT_WITHIN = 0.5
# Events buffered for a slow client; beyond this the CLI's output is no longer read.
_MAX_BUFFERED_EVENTS = 64
_TEXT_EVENTS = TextDelta | ThinkingDelta | ToolCallDelta
# No model answers so much; a CLI that never stops writing would fill the memory.
_MAX_ANSWER_CHARS = 64 * 1024 * 1024


class CliAttempt:
    """Waits for `lease`, then runs the turn `spec` on the leased worker, and gives it back.

    Not a task: frames come in as callbacks, events go out by iteration. `login` learns what the turn shows of
    the login.
    """

    def __init__(self, lease: asyncio.Future[Worker], spec: AttemptSpec, login: LoginUse) -> None:
        self._lease = lease
        self._spec = spec
        self._login = login
        self._events: deque[TurnEvent] = deque()
        self._error: TurnError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._worker: Worker | None = None
        self._script: Script | None = None
        self._closed = False
        self._reading_paused = False
        self._length = 0
        # Does the turn go on in a process that waited at calls?
        self._resumes = False
        self._unkept: tuple[TurnEvent, ...] = ()
        self._result_timer: asyncio.TimerHandle | None = None
        self._silence_timer: asyncio.TimerHandle | None = None
        self._progressed_at = asyncio.get_running_loop().time()
        self._unread = 0
        if lease.done():
            self._begin(lease)
        else:
            lease.add_done_callback(self._begin)

    def _begin(self, lease: asyncio.Future[Worker]) -> None:
        if lease.cancelled():
            self.fail(CliFailed("The wait for a claude process was given up."))
            return
        error = lease.exception()
        if error is not None:
            self.fail(error if isinstance(error, TurnError) else CliFailed(f"The engine failed: {error!r}"))
            return
        worker = lease.result()
        if self._closed:
            # Closed between the hand-over and this callback: nothing was written to the worker.
            worker.finish(None)
            return
        self._worker = worker
        if worker.process.ended:
            self._resumes = worker.suspended is not None
            self.ended(None)
            return
        self._script = worker.begin(self._spec, self._login.advice)
        self._resumes = self._script.resumes
        worker.process.listener = self
        if worker.idled_long:
            self._silence_timer = asyncio.get_running_loop().call_later(_SILENT_AFTER, self._silent)
        self._write(self._script.dialogue.start())
        if self._script.dialogue.closes_input:
            worker.process.close_input()

    def frame(self, frame: Frame) -> None:
        """A frame of the process."""
        self._hear()
        if self._script is None or self._worker is None or self._error is not None:
            return
        try:
            data, events = self._script.dialogue.receive(frame)
            check_texts(events)
        except TurnError as error:
            self._fail_truly(error)
            return
        except MALFORMED_FRAME as error:
            self.fail(malformed_frame(frame, error))
            return
        if self._script.translator.answered:
            self._login.answered()
        if self._script.translator.deserted:
            self._worker.process.kill()
        if data:
            self._write(data)
        if events and self._script.translator.suspended and self._script.is_kept is not None:
            self._unkept = tuple(events)
            self._look_for_transcript(self._script, int(_KEPT_WITHIN / _LOOK_EVERY))
        elif events:
            self._events.extend(events)
            self._wake()
            self._enforce_limits(events, self._worker)
        translator = self._script.translator
        if (translator.cut or translator.said_all) and self._result_timer is None:
            self._result_timer = asyncio.get_running_loop().call_later(_RESULT_TIMEOUT, self._finish_early)

    def _write(self, data: bytes) -> None:
        """The next step: what was written before has been answered."""
        assert self._worker is not None
        self._worker.process.write(data)
        self._unread = self._worker.process.unread
        self._progressed_at = asyncio.get_running_loop().time()

    def progressed_at(self) -> float:
        unread = self._worker.process.unread if self._worker is not None else 0
        if unread < self._unread:
            self._unread = unread
            self._progressed_at = asyncio.get_running_loop().time()
        return self._progressed_at

    def _look_for_transcript(self, script: Script, tries: int) -> None:
        """Tell the end of a session's turn once it is in the transcript: the next one may have to go on from
        there. One that isn't there in time is told all the same; the core says what that means."""
        mark = script.translator.mark or ""
        if self._closed:
            return
        if tries and script.is_kept is not None and not script.is_kept(mark):
            loop = asyncio.get_running_loop()
            loop.call_later(_LOOK_EVERY, self._look_for_transcript, script, tries - 1)
            return
        self._events.extend(self._unkept)
        self._unkept = ()
        self._wake()

    def _enforce_limits(self, events: Sequence[TurnEvent], worker: Worker) -> None:
        """Bound the memory of a turn: pause the process while many events wait, fail an endless answer."""
        if len(self._events) > _MAX_BUFFERED_EVENTS and not self._reading_paused:
            self._reading_paused = True
            worker.process.set_paused(True)
        self._length += sum(len(e.text) for e in events if isinstance(e, _TEXT_EVENTS))
        if self._length > _MAX_ANSWER_CHARS:
            self.fail(
                CliFailed(f"The claude CLI wrote an answer of more than {_MAX_ANSWER_CHARS} characters.")
            )

    def _resume_reading(self) -> None:
        if self._reading_paused and self._worker is not None:
            self._reading_paused = False
            self._worker.process.set_paused(False)

    def ended(self, problem: str | None) -> None:
        """The process ended."""
        if self._done or self._worker is None:
            return
        script = self._script
        if script is not None and (script.translator.cut or script.translator.waiting):
            # The answer is complete; only the reply to the interrupt is missing, or what it has cost.
            self._finish_early()
            return
        if self._resumes and not (script is not None and script.translator.answered):
            self.fail(ProcessSilent("A claude process that waited at a call has ended."))
        elif problem is not None:
            self.fail(CliFailed(f"The claude CLI {problem}."))
        else:
            process = self._worker.process
            advice = self._script.translator.advice if self._script is not None else None
            self.fail(self._login.failed(error_from_exit(process.returncode, process.stderr, advice)))

    def _fail_truly(self, error: TurnError) -> None:
        """Fail with what the CLI or the API said."""
        if self._script is not None and self._script.translator.answered:
            self._login.answered()
        self.fail(self._login.failed(error))

    def _hear(self) -> None:
        if self._silence_timer is not None:
            self._silence_timer.cancel()
            self._silence_timer = None

    def _silent(self) -> None:
        self.fail(ProcessSilent("A claude process that idled doesn't answer any more."))

    def fail(self, error: TurnError) -> None:
        """End the iteration with `error`, after the events that came before it."""
        if self._error is None and not self._done:
            self._error = error
            self._wake()

    def _finish_early(self) -> None:
        if self._script is not None and not self._done and self._error is None:
            self._events.append(self._script.translator.finish_early())
            self._wake()

    def close(self) -> None:
        """Give the worker back, or give up waiting for one."""
        self._closed = True
        self._resume_reading()
        self._hear()
        if self._result_timer is not None:
            self._result_timer.cancel()
        if not self._lease.done():
            self._lease.cancel()
        self._login.ended(complete=self._done)
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.finish(self._script)

    @property
    def _done(self) -> bool:
        return self._script is not None and self._script.translator.done and not self._unkept

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> CliAttempt:
        return self

    async def __anext__(self) -> TurnEvent:
        while not self._events:
            self._resume_reading()
            if self._error is not None:
                raise self._error
            if self._done:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._events.popleft()
