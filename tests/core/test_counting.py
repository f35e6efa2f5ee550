"""Counts that are kept, and estimates where nothing can be counted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from claude_server.core.counting import TokenCounter
from claude_server.core.errors import InvalidRequest, NotReady, TurnError
from claude_server.core.model import (
    Document,
    Image,
    Message,
    Tool,
    ToolResult,
    ToolUse,
    TurnDone,
    TurnRequest,
    Usage,
)
from claude_server.core.ports import TurnEnd, TurnOutcome
from tests.support import IdleBackend


class Counts(IdleBackend):
    def __init__(self, error: TurnError | None = None) -> None:
        super().__init__()
        self.error = error
        self.asked = 0

    async def count_tokens(self, turn: TurnRequest) -> int:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return 42


def turn(text: str = "hello", **more: object) -> TurnRequest:
    return replace(TurnRequest("id", Message("user", (text,))), **more)  # type: ignore[arg-type]


def answered(prompt_tokens: int) -> TurnEnd:
    return TurnEnd(TurnOutcome.ANSWERED, 1.0, 0, TurnDone("end_turn", Usage(prompt_tokens), "x", None, 1))


async def test_what_was_just_counted_is_known() -> None:
    backend = Counts()
    counter = TokenCounter(backend)
    for _ in range(3):
        count = await counter.count(turn())
        assert (count.tokens, count.exact) == (42, True)
    assert backend.asked == 1
    tool = Tool("t", "d", "{}")
    for other in (turn("bye"), turn(system="S"), turn(model="haiku"), turn(owner="b"), turn(tools=(tool,))):
        await counter.count(other)
    assert backend.asked == 6
    # What doesn't count.
    await counter.count(turn(max_output_tokens=5, buffered=True))
    assert backend.asked == 6


async def test_not_for_ever() -> None:
    backend = Counts()
    counter = TokenCounter(backend)
    for number in range(600):
        await counter.count(turn(str(number)))
    await counter.count(turn("599"))
    assert backend.asked == 600
    await counter.count(turn("0"))
    assert backend.asked == 601


async def test_estimated_where_it_cant_be_counted() -> None:
    counter = TokenCounter(Counts(NotReady("no CLI")))
    count = await counter.count(turn("x" * 9000))
    assert not count.exact and 3000 < count.tokens < 4000
    with pytest.raises(InvalidRequest):
        await TokenCounter(Counts(InvalidRequest("bad"))).count(turn())


def test_the_estimate_follows_what_turns_have_shown() -> None:
    counter = TokenCounter(Counts())
    asked = turn("x" * 10_000, model="haiku")
    before = counter.estimate(asked)
    counter.ended(asked, answered(2000))
    assert counter.estimate(asked) == 2001 < before
    # The highest one holds: too low a count is what hurts.
    counter.ended(asked, answered(3000))
    counter.ended(asked, answered(1000))
    assert counter.estimate(asked) == 3001
    assert counter.estimate(replace(asked, model="opus")) == before
    for _ in range(16):
        counter.ended(asked, answered(2500))
    assert counter.estimate(asked) == 2501


def test_nothing_is_learned_from_prompts_that_are_not_text_alone() -> None:
    counter = TokenCounter(Counts())
    before = counter.estimate(turn("x" * 10_000))
    image = Message("user", ("x" * 10_000, Image("image/png", "")))
    others = [
        turn("x" * 100),
        turn("x" * 10_000, session_id="s"),
        replace(turn(), question=image),
    ]
    for other in others:
        counter.ended(other, answered(9))
    failed = TurnEnd(TurnOutcome.FAILED, 1.0, 0, error=NotReady("x"))
    counter.ended(turn("x" * 10_000), failed)
    assert counter.estimate(turn("x" * 10_000)) == before


def test_all_of_a_prompt_is_estimated() -> None:
    counter = TokenCounter(Counts())
    call = ToolUse("c", "t", {"x": "y" * 1000})
    for question in (
        Message("user", (Image("image/png", ""),)),
        Message("user", (Document("x" * 100_000),)),
        Message("user", (ToolResult("c", (Image("image/png", ""), "so")),)),
    ):
        assert counter.estimate(replace(turn(), question=question)) >= 1600
    called = replace(turn(), history=(Message("user", ("hi",)), Message("assistant", (call,))))
    assert counter.estimate(called) >= 400
    assert counter.estimate(turn(system="s" * 1000)) >= 400
    assert counter.estimate(turn(tools=(Tool("t", "d" * 1000, "{}"),))) >= 400
