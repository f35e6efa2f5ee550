"""Several answers to one request, as one stream of events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import pytest

from claude_server.core.errors import Overloaded, TurnError
from claude_server.core.model import TextDelta, TurnEvent
from claude_server.http import choices
from claude_server.http.choices import merge_runs

PATIENCE = 10.0
Step = str | Exception | asyncio.Event


class Answer:
    """Gives texts, raises errors, waits at events."""

    def __init__(self, *steps: Step) -> None:
        self._steps = steps
        self.given = 0
        self.begun = False
        self.closed = asyncio.Event()

    async def run(self) -> AsyncGenerator[TurnEvent, None]:
        self.begun = True
        try:
            for step in self._steps:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, str):
                    self.given += 1
                    yield TextDelta(step)
                else:
                    await step.wait()
        finally:
            self.closed.set()


def stream(*answers: Answer) -> AsyncGenerator[tuple[int, TurnEvent], None]:
    return merge_runs([answer.run() for answer in answers])


async def all_closed(*answers: Answer) -> None:
    for answer in answers:
        await asyncio.wait_for(answer.closed.wait(), PATIENCE)
    while choices._closing_tasks:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def holds(fact: Callable[[], bool]) -> None:
    """Let the others run until a fact holds that no event tells."""
    while not fact():  # noqa: ASYNC110
        await asyncio.sleep(0)


async def test_one_answer() -> None:
    answer = Answer("a", "b")
    assert [pair async for pair in stream(answer)] == [(0, TextDelta("a")), (0, TextDelta("b"))]
    await all_closed(answer)


@pytest.mark.parametrize("number", [2, 8])
async def test_several_answers(number: int) -> None:
    answers = [Answer(*(f"{i}{letter}" for letter in "abc")) for i in range(number)]
    events = [pair async for pair in stream(*answers)]
    for index in range(number):
        mine = [event for i, event in events if i == index]
        assert mine == [TextDelta(f"{index}{letter}") for letter in "abc"]
    assert len(events) == 3 * number
    await all_closed(*answers)


async def test_they_run_at_once_and_are_told_as_they_come() -> None:
    gate = asyncio.Event()
    first, second = Answer(gate, "late"), Answer("early", "more")
    events = stream(first, second)
    async with aclosing(events):
        assert [await anext(events), await anext(events)] == [(1, TextDelta("early")), (1, TextDelta("more"))]
        gate.set()
        assert [pair async for pair in events] == [(0, TextDelta("late"))]
    await all_closed(first, second)


@pytest.mark.parametrize("error", [Overloaded("busy"), KeyError("a mistake of ours")])
@pytest.mark.parametrize("number", [1, 2, 3])
async def test_the_first_that_fails_fails_them_all(error: Exception, number: int) -> None:
    never = asyncio.Event()
    answers = [Answer("a", error), *(Answer("b", never) for _ in range(number - 1))]
    seen = []
    with pytest.raises(type(error)) as raised:
        async for pair in stream(*answers):
            seen.append(pair)
    assert raised.value is error
    assert (0, TextDelta("a")) in seen
    await all_closed(*answers)


async def test_a_failure_comes_after_what_was_told_before() -> None:
    answers = [Answer("a"), Answer(*"bcd", Overloaded("busy"))]
    seen = []
    with pytest.raises(TurnError):
        async for _, event in stream(*answers):
            seen.append(event)
    assert {event.text for event in seen if isinstance(event, TextDelta)} == set("abcd")
    await all_closed(*answers)


@pytest.mark.parametrize("number", [1, 2, 8])
async def test_who_leaves_early_ends_them_all(number: int) -> None:
    answers = [Answer("a", asyncio.Event()) for _ in range(number)]
    events = stream(*answers)
    await anext(events)
    await events.aclose()
    await holds(lambda: all(answer.begun for answer in answers))
    await all_closed(*answers)


async def test_a_task_that_is_cancelled_ends_them_all() -> None:
    answers = [Answer(asyncio.Event()) for _ in range(3)]

    async def read() -> None:
        async with aclosing(stream(*answers)) as events:
            await anext(events)

    task = asyncio.create_task(read())
    await holds(lambda: all(answer.begun for answer in answers))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await all_closed(*answers)


async def test_nothing_begins_before_it_is_asked_for() -> None:
    answers = [Answer("a"), Answer("b")]
    await stream(*answers).aclose()
    assert not any(answer.begun for answer in answers)
    # What was never begun has nothing to close.
    events = [answer.run() for answer in answers]
    for run in events:
        await run.aclose()


async def test_answers_wait_for_a_client_that_takes_its_time() -> None:
    answers = [Answer(*"x" * 1000) for _ in range(2)]
    events = stream(*answers)
    await anext(events)
    before = -1
    while before != (before := sum(answer.given for answer in answers)):
        for _ in range(20):
            await asyncio.sleep(0)
    assert before < 100
    assert len([pair async for pair in events]) == 1999
    await all_closed(*answers)
