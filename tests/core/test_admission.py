"""Slots and the queue before them."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from claude_server.core.admission import Admission, Ticket
from claude_server.core.errors import QueueFull


async def settle() -> None:
    """Let every task that can run come to where it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


async def waiters(admission: Admission, number: int) -> list[tuple[Ticket, asyncio.Task[None]]]:
    made = []
    for _ in range(number):
        ticket = admission.ticket()
        made.append((ticket, asyncio.create_task(ticket.acquire())))
    await settle()
    return made


async def test_as_many_run_as_there_are_slots() -> None:
    admission = Admission(2, 5, 60)
    tickets = await waiters(admission, 4)
    assert repr(admission) == "<Admission running=2/2 waiting=2/5>"
    assert [task.done() for _, task in tickets] == [True, True, False, False]
    tickets[0][0].release()
    await tickets[2][1]
    assert repr(admission) == "<Admission running=2/2 waiting=1/5>"
    for ticket, task in tickets[1:]:
        await task
        ticket.release()
    assert repr(admission) == "<Admission running=0/2 waiting=0/5>"
    assert admission.refused == 0


async def test_who_came_first_is_served_first() -> None:
    admission = Admission(1, 5, 60)
    tickets = await waiters(admission, 4)
    for index in range(4):
        assert [task.done() for _, task in tickets] == [n <= index for n in range(4)]
        tickets[index][0].release()
        await settle()


@pytest.mark.parametrize("places", [0, 1, 3])
async def test_the_queue_holds_exactly_what_it_says(places: int) -> None:
    admission = Admission(1, places, 60)
    tickets = await waiters(admission, 1 + places)
    assert (admission.running, admission.waiting) == (1, places)
    with pytest.raises(QueueFull) as refused:
        await admission.ticket().acquire()
    assert refused.value.message == (
        f"The queue is full: 1 turns run and {places} requests wait. "
        "Try again later, or raise CLAUDE_MAX_QUEUE or CLAUDE_MAX_CONCURRENCY."
    )
    assert refused.value.retry_after == 1 + places
    assert (admission.running, admission.waiting, admission.refused) == (1, places, 1)
    for ticket, task in tickets:
        await task
        ticket.release()
    await admission.ticket().acquire()


async def test_a_free_slot_needs_no_place_in_the_queue() -> None:
    admission = Admission(1, 0, 60)
    ticket = admission.ticket()
    await ticket.acquire()
    ticket.release()
    await ticket.acquire()
    assert admission.running == 1


async def test_a_wait_has_its_limit() -> None:
    admission = Admission(1, 5, 0.01)
    await admission.ticket().acquire()
    late = admission.ticket()
    with pytest.raises(QueueFull) as refused:
        await late.acquire()
    assert refused.value.message == "No turn came free within 0.01 s (CLAUDE_QUEUE_TIMEOUT)."
    assert refused.value.retry_after == 2
    assert repr(admission) == "<Admission running=1/1 waiting=0/5>"
    assert admission.refused == 1
    late.release()
    assert admission.running == 1


async def test_the_limit_is_over_all_that_one_request_waits_for() -> None:
    now = 0.0
    admission = Admission(1, 5, 60, clock=lambda: now)
    holder = admission.ticket()
    await holder.acquire()
    session = asyncio.Lock()
    await session.acquire()
    ticket = admission.ticket()
    waiting = asyncio.create_task(ticket.wait_for(session))
    await settle()
    assert repr(admission) == "<Admission running=1/1 waiting=1/5>"
    now = 60.0
    session.release()
    await waiting
    assert session.locked()
    with pytest.raises(QueueFull, match=r"within 60 s"):
        await ticket.acquire()


async def test_a_retry_has_a_waiting_time_of_its_own_and_is_not_refused() -> None:
    now = 0.0
    admission = Admission(1, 1, 60, clock=lambda: now)
    other = admission.ticket()
    await other.acquire()
    ticket = admission.ticket()
    first = asyncio.create_task(ticket.acquire())
    await settle()
    other.release()
    await first
    now = 1000.0
    ticket.release()
    ((holder, held), (queued, place)) = await waiters(admission, 2)
    assert held.done() and admission.waiting == 1
    again = asyncio.create_task(ticket.acquire())
    await settle()
    assert repr(admission) == "<Admission running=1/1 waiting=2/1>"
    holder.release()
    await place
    queued.release()
    await again
    assert repr(admission) == "<Admission running=1/1 waiting=0/1>"


async def test_who_waited_for_a_session_is_not_refused_a_slot() -> None:
    admission = Admission(1, 1, 60)
    holder = admission.ticket()
    await holder.acquire()
    session = asyncio.Lock()
    await session.acquire()
    ticket = admission.ticket()
    waiting = asyncio.create_task(ticket.wait_for(session))
    await settle()
    with pytest.raises(QueueFull):
        await admission.ticket().acquire()
    session.release()
    await waiting
    await waiters(admission, 1)
    slot = asyncio.create_task(ticket.acquire())
    await settle()
    assert not slot.done() and admission.waiting == 2
    slot.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await slot
    assert admission.waiting == 1


async def test_a_waiter_that_gave_up_gets_nothing() -> None:
    admission = Admission(1, 5, 60)
    (holder, _), (gone, cancelled), (_next, waiting) = await waiters(admission, 3)
    cancelled.cancel()
    holder.release()
    await waiting
    assert cancelled.cancelled()
    gone.release()
    assert repr(admission) == "<Admission running=1/1 waiting=0/5>"


async def test_a_waiter_that_gives_up_when_its_slot_has_just_come_passes_it_on() -> None:
    admission = Admission(1, 5, 60)
    (holder, _), (_, cancelled), (_last, waiting) = await waiters(admission, 3)
    holder.release()
    cancelled.cancel()
    await waiting
    assert repr(admission) == "<Admission running=1/1 waiting=0/5>"


async def test_a_slot_is_given_back_once() -> None:
    admission = Admission(1, 5, 60)
    ticket = admission.ticket()
    ticket.release()
    await ticket.acquire()
    ticket.release()
    ticket.release()
    assert admission.running == 0
    ((_, held), (_second, waiting)) = await waiters(admission, 2)
    assert (held.done(), waiting.done()) == (True, False)
    waiting.cancel()
