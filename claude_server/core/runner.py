"""The pipeline that every turn goes through: session lock, slot, attempts, retries."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace

from claude_server.core.admission import Admission, Ticket
from claude_server.core.answer_check import AnswerChecker
from claude_server.core.backend import Backend
from claude_server.core.calls import SessionCalls, paired, with_results
from claude_server.core.check_process import check_event
from claude_server.core.drain import Drain
from claude_server.core.errors import (
    CliFailed,
    InvalidRequest,
    ProcessSilent,
    SessionConflict,
    SessionLost,
    StateFailed,
    ThoughtsMissing,
    ThoughtsRefused,
    TurnError,
)
from claude_server.core.model import (
    AttemptRequest,
    BlockEnded,
    SessionPlan,
    SessionState,
    ThinkingDelta,
    ToolResult,
    ToolRun,
    TurnDone,
    TurnEvent,
    TurnRequest,
    TurnStarted,
    merge_deltas,
)
from claude_server.core.observed import ObservedTurn
from claude_server.core.ports import SessionOwnedByOther, StoreError, TurnObserver
from claude_server.core.retry import RetryPolicy
from claude_server.core.sessions import Session, Sessions
from claude_server.core.thoughts import Thoughts, TurnThoughts
from claude_server.core.watchdog import Deadlines, Watchdog

# A transcript belongs to the folder of its processes, and those with tools run in the operator's folder.
_WRONG_KIND = {
    True: "This session was begun with 'enable_tools': send it with each request, or use another session_id.",
    False: "This session was begun without 'enable_tools': leave it out, or use another session_id.",
}

_NOT_KEPT = "nothing can follow on this answer: the session goes on as if this had not been asked"


class Runner:
    """Runs turns on a backend. `run()` is an async generator; closing it releases all that it holds."""

    def __init__(
        self,
        backend: Backend,
        sessions: Sessions,
        admission: Admission,
        retry: RetryPolicy,
        deadlines: Deadlines,
        *,
        thoughts: Thoughts | None = None,
        observers: Sequence[TurnObserver] = (),
        jitter: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.backend = backend
        self.sessions = sessions
        self.admission = admission
        self.drain = Drain()
        self._retry = retry
        self._deadlines = deadlines
        self._thoughts = thoughts or Thoughts()
        self._observers = observers
        self._jitter = jitter
        self._sleep = sleep

    async def run(self, turn: TurnRequest) -> AsyncGenerator[TurnEvent, None]:
        """The events of a turn: TurnStarted, deltas, TurnDone. Raises TurnError.

        TurnStarted comes with the first delta, since until then a retry may change it. A buffered turn yields
        nothing before it is complete, so that it can be retried to its end.
        """
        ticket = self.admission.ticket()
        # The session's lock comes before the slot: a request that waits for a busy session holds no slot.
        async with AsyncExitStack() as stack:
            stack.enter_context(self.drain.turn())
            observed = stack.enter_context(ObservedTurn(turn, self._observers))
            session_turn, failures = await self._open_session(turn, ticket, stack, observed)
            thoughts = TurnThoughts(self._thoughts, turn, self.backend)
            while True:
                await ticket.acquire()
                held: list[TurnEvent] = []
                sent = acted = False
                try:
                    # Synchronous: in a cancelled generator an await would be cancelled too.
                    with ExitStack() as given_back:
                        given_back.callback(ticket.release)
                        attempt = self.backend.open(await thoughts.request(await session_turn.request()))
                        given_back.callback(attempt.close)
                        watchdog = Watchdog(self._deadlines, attempt.fail, attempt.progressed_at)
                        given_back.callback(watchdog.stop)
                        check = AnswerChecker(turn.answer)
                        async for event in attempt:
                            acted = _observe(watchdog, event) or acted
                            for checked in await check_event(check, event):
                                told = await session_turn.with_session(await thoughts.seen(checked), failures)
                                held.append(observed.seen(told))
                            if held and (sent or not _must_hold(turn, held[-1])):
                                sent = True
                                # A slow client must not count as silence of the CLI.
                                watchdog.pause()
                                for ready in merge_deltas(held):
                                    yield ready
                                _observe(watchdog, event)
                                held.clear()
                    return
                except TurnError as error:
                    error.final = acted
                    wait: float | None = 0.0
                    if not _is_mended(error, session_turn, thoughts, begun=sent or acted):
                        failures += 1
                        wait = None if sent or acted else self._retry.delay(error, failures, self._jitter())
                    if wait is None:
                        raise
                    observed.retried(error, wait)
                await self._sleep(wait)

    async def _open_session(
        self, turn: TurnRequest, ticket: Ticket, stack: AsyncExitStack, observed: ObservedTurn
    ) -> tuple[_SessionTurn, int]:
        """The turn's session, held until `stack` ends, and how often it could not be opened."""
        if turn.session_id is None:
            return _SessionTurn(turn, None, self.backend), 0
        failures = 0
        while True:
            try:
                session = await self._hold_session(turn.owner, turn.session_id, ticket, stack)
            except StoreError as error:
                failures += 1
                failed = StateFailed(_store_failure(error))
                wait = self._retry.delay(failed, failures, self._jitter())
                if wait is None:
                    raise failed from error
                observed.retried(failed, wait)
                await self._sleep(wait)
            except SessionOwnedByOther:
                message = "This session_id belongs to another API key: choose another one."
                raise SessionConflict(message) from None
            else:
                return _SessionTurn(turn, session, self.backend), failures

    async def _hold_session(
        self, owner: str, session_id: str, ticket: Ticket, stack: AsyncExitStack
    ) -> Session:
        async with AsyncExitStack() as opened:
            session = await opened.enter_async_context(self.sessions.hold(owner, session_id, ticket.wait_for))
            await session.renew()
            stack.push_async_exit(opened.pop_all())
        return session


def _is_mended(error: TurnError, session_turn: _SessionTurn, thoughts: TurnThoughts, *, begun: bool) -> bool:
    """Is what failed the attempt no failure of the turn, and mended, so that it is asked at once?"""
    if isinstance(error, SessionLost):
        session_turn.recreate()
        return True
    if isinstance(error, ProcessSilent):
        # It is gone now, so this ends with the last process that idled.
        return True
    return isinstance(error, ThoughtsRefused | ThoughtsMissing) and not begun and thoughts.leave_out(error)


def _observe(watchdog: Watchdog, event: TurnEvent) -> bool:
    """Note an event at the watchdog. True if the event can't be undone, so the turn can't be retried."""
    watchdog.touch()
    if not isinstance(event, ToolRun):
        return False
    # A tool may run for as long as it likes.
    watchdog.pause()
    return True


def _must_hold(turn: TurnRequest, last: TurnEvent) -> bool:
    """Must the events be held back? Until the first visible one is sent, an attempt can be retried."""
    if isinstance(last, TurnDone):
        return False
    unseen = isinstance(last, TurnStarted | BlockEnded) or (
        isinstance(last, ThinkingDelta) and not turn.shows_thinking
    )
    return turn.buffered or unseen


class _SessionTurn:
    """A turn's session, if it has one: the requests of its attempts, and the record of its answer."""

    def __init__(self, turn: TurnRequest, session: Session | None, backend: Backend) -> None:
        self._turn = turn
        self._tools = turn.cli_tools is not None
        self._session = session
        self._backend = backend
        self._state: SessionState | None = None
        self._plan: SessionPlan | None = None
        self._system = turn.system
        self._notices = turn.notices
        self._messages = 0  # that the attempt brings along, beside the question
        # None: a record from a server that didn't note the calls. Then results are taken as they come.
        self._calls: SessionCalls | None = SessionCalls()
        if session is None:
            return
        record = session.record
        if record is not None and record.mark is not None:
            if record.tools != self._tools:
                raise InvalidRequest(_WRONG_KIND[record.tools], param="enable_tools")
            self._state = "resumed"
            self._plan = SessionPlan(session.uuid, "resume", record.mark or None, record.cost_usd)
            self._calls = SessionCalls.from_json(record.calls)
            self._system = record.system
            if turn.system not in ("", record.system):
                self._notices += ("a session keeps its first system prompt; the new one is ignored",)
        elif record is None and session.known and backend.has_transcript(session.uuid, tools=self._tools):
            self._state = "resumed"
            self._plan = SessionPlan(session.uuid, "resume")
            self._calls = None
        else:
            self._state = "created"
            self._plan = SessionPlan(session.uuid, "create")

    async def request(self) -> AttemptRequest:
        session, plan = self._session, self._plan
        if session is None or plan is None:
            return AttemptRequest(self._turn, self._system, self._turn.history)
        if plan.how == "resume":
            return self._resumed(plan)
        try:
            await session.create(self._system, tools=self._tools)
        except StoreError as error:
            raise StateFailed(_store_failure(error)) from error
        self._messages = len(self._turn.history)
        # What a session can't have seen is text.
        *history, question = paired((*self._turn.history, self._turn.question))
        return AttemptRequest(replace(self._turn, question=question), self._system, tuple(history), plan)

    def _resumed(self, plan: SessionPlan) -> AttemptRequest:
        """The request of a turn whose history the session holds."""
        question = self._turn.question
        if self._calls is not None:
            question = with_results(question, self._calls.open)
            plan = replace(plan, called=self._calls.names)
        plan = replace(plan, results=tuple(b for b in question.blocks if isinstance(b, ToolResult)))
        return AttemptRequest(replace(self._turn, question=question), self._system, (), plan)

    def recreate(self) -> None:
        """Plan to recreate a conversation that the CLI has lost, from the request's own history."""
        if self._session is None or self._state == "recreated":
            raise CliFailed("The claude CLI lost a conversation that it was told to make.")
        self._state = "recreated"
        self._plan = SessionPlan(self._session.uuid, "create")
        self._calls = SessionCalls()
        self._system = self._turn.system or self._system
        self._notices = self._turn.notices

    async def with_session(self, event: TurnEvent, retries: int) -> TurnEvent:
        """The event, completed with session state, notices and retries. Records the turn at its end."""
        if isinstance(event, TurnDone):
            return await self._record(event, retries)
        if isinstance(event, TurnStarted):
            return replace(event, session=self._state, notices=self._notices)
        return event

    async def _record(self, done: TurnDone, retries: int) -> TurnDone:
        """Record the turn before its end is sent: a client must be able to continue from what it has seen."""
        session = self._session
        if session is not None and done.mark is None:
            self._notices += (_NOT_KEPT,)
        if session is not None and done.mark is not None:
            try:
                if session.record is None:
                    # A transcript without a record: the number of its messages is unknown.
                    await session.create(self._system, messages=None, tools=self._tools)
                await session.record_answer(
                    done.mark, done.total_cost_usd, self._messages + 2, self._calls_after(done)
                )
            except StoreError as error:
                # The client has its answer; what can't be promised is that the session remembers it.
                self._notices += (_store_failure(error),)
            if not self._backend.has_transcript(session.uuid, done.mark, tools=self._tools):
                self._notices += ("the claude CLI could not keep this conversation: it may be lost",)
        notices = (*self._notices, *done.notices)
        return replace(done, retries=retries, session=self._state, notices=notices)

    def _calls_after(self, done: TurnDone) -> str:
        came = self._turn.history if self._messages else ()
        return (self._calls or SessionCalls()).after(came, done.calls).to_json()


def _store_failure(error: StoreError) -> str:
    return f"The session's record can't be read or written: {error}."
