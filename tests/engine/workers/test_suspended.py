"""Which requests go on in a worker that waits at calls, and why the others don't."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_server.core.model import (
    Block,
    Document,
    Message,
    RedactedThinking,
    Thinking,
    Tool,
    ToolResult,
    ToolUse,
)
from claude_server.engine.processes.argv import Launch
from claude_server.engine.protocol.waiting import Leave
from claude_server.engine.workers.counters import Fallback
from claude_server.engine.workers.demand import Demand
from claude_server.engine.workers.state import WorkerConfig
from claude_server.engine.workers.suspended import Suspended

LOOK, READ = Tool("look", "looks", '{"type":"object"}'), Tool("read", "reads", '{"type":"object"}')
CONFIG = WorkerConfig("sonnet", "S", tools=(LOOK, READ))
ONE, TWO = ToolUse("toolu_1", "look", {"x": 1}), ToolUse("toolu_2", "read", {"y": [True, None, {"z": "é"}]})
Q = Message("user", ("Q",))
ANSWER = Message("assistant", (Thinking("hm", "sig"), "I ", "look.", ONE, TWO))
SAID_BACK = Message("assistant", ("I look.", ONE, TWO))
SUN, RAIN = ToolResult("toolu_1", ("sun",)), ToolResult("toolu_2", ("rain",), is_error=True)
HELD = Suspended(CONFIG, (Q,), ANSWER, Leave("p1", "toolu_1", {"x": 1}), longest=1000)


def brings(
    *blocks: Block, config: WorkerConfig = CONFIG, history: tuple[Message, ...] = (Q, SAID_BACK)
) -> Demand:
    return Demand(config, Launch(), "", history, Message("user", blocks or (SUN, RAIN)))


def test_the_results_come_in_the_order_of_the_calls() -> None:
    assert HELD.goes_on(brings()) == (SUN, RAIN)
    assert HELD.goes_on(brings(RAIN, SUN)) == (SUN, RAIN)


@pytest.mark.parametrize(
    "answer",
    [
        ANSWER,
        Message("assistant", ("I look.", ONE, TWO)),
        Message("assistant", ("I ", "look.", ONE, replace(TWO, input={"y": [True, None, {"z": "é"}]}))),
        # As JavaScript writes 1.0.
        Message("assistant", ("I look.", replace(ONE, input={"x": 1.0}), TWO)),
        Message("assistant", (RedactedThinking("of another"), "I look.", ONE, TWO)),
    ],
)
def test_the_answer_may_come_back_as_clients_put_it(answer: Message) -> None:
    assert HELD.goes_on(brings(history=(Q, answer))) == (SUN, RAIN)


@pytest.mark.parametrize(
    "config",
    [
        replace(CONFIG, tools=(replace(LOOK, description="at 12:05"), READ)),
        # Off for lack of thoughts: here they are.
        replace(CONFIG, thinking=False),
    ],
)
def test_what_may_differ(config: WorkerConfig) -> None:
    assert HELD.goes_on(brings(config=config)) == (SUN, RAIN)
    going_on = HELD.config_with(config.tools)
    assert going_on == replace(CONFIG, tools=config.tools) and going_on.thinking


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (replace(CONFIG, model="opus"), Fallback.MODEL),
        (replace(CONFIG, model=None), Fallback.MODEL),
        (replace(CONFIG, system="T"), Fallback.SYSTEM),
        (replace(CONFIG, tools=(LOOK,)), Fallback.TOOLS),
        (replace(CONFIG, tools=(READ, LOOK)), Fallback.TOOLS),
        (replace(CONFIG, tools=(LOOK, replace(READ, schema='{"type":"object","x":1}'))), Fallback.TOOLS),
        (replace(CONFIG, tools=(LOOK, replace(READ, strict=True))), Fallback.TOOLS),
        (replace(CONFIG, effort="low"), Fallback.EFFORT),
        (replace(CONFIG, max_output_tokens=7), Fallback.LIMITS),
        (replace(CONFIG, body='{"temperature": 1}'), Fallback.LIMITS),
        (replace(CONFIG, long_cache=True), Fallback.LIMITS),
    ],
)
def test_what_may_not_differ(config: WorkerConfig, why: Fallback) -> None:
    assert HELD.goes_on(brings(config=config)) is why


def test_a_process_that_was_not_to_think_goes_on_with_nobody_who_wants_that() -> None:
    held = replace(HELD, config=replace(CONFIG, thinking=False))
    assert held.goes_on(brings()) is Fallback.LIMITS
    assert held.goes_on(brings(config=replace(CONFIG, thinking=False))) == (SUN, RAIN)


def test_another_wish_for_thinking() -> None:
    assert HELD.goes_on(replace(brings(), wants_thinking=False)) is Fallback.LIMITS


@pytest.mark.parametrize(
    "history",
    [
        (),
        (Q,),
        (Message("user", ("Q?",)), SAID_BACK),
        (Q, Message("assistant", ("I looked.", ONE, TWO))),
        (Q, Message("assistant", ("I look.", TWO, ONE))),
        (Q, Message("assistant", ("I look.", ONE))),
        (Q, Message("assistant", ("I look.", replace(ONE, input={"x": True}), TWO))),
        (Q, Message("assistant", ("I look.", replace(ONE, id="toolu_9"), TWO))),
        (Q, SAID_BACK, Q, SAID_BACK),
        (Q, Message("user", SAID_BACK.blocks)),
    ],
)
def test_another_conversation(history: tuple[Message, ...]) -> None:
    assert HELD.goes_on(brings(history=history)) is Fallback.HISTORY


@pytest.mark.parametrize(
    ("blocks", "why"),
    [
        ((SUN,), Fallback.MISSING),
        ((SUN, replace(RAIN, id="toolu_3")), Fallback.MISSING),
        ((SUN, RAIN, ToolResult("toolu_3", ("more",))), Fallback.MISSING),
        ((SUN, RAIN, "And?"), Fallback.MORE),
        ((SUN, SUN, RAIN), Fallback.MORE),
        ((SUN, replace(RAIN, blocks=("x" * 11_000,))), Fallback.TOO_LONG),
        ((replace(SUN, blocks=("x" * 600, "x" * 600)), RAIN), Fallback.TOO_LONG),
        ((replace(SUN, blocks=(Document("cGRm"),)), RAIN), Fallback.UNFIT),
    ],
)
def test_results_that_are_not_it(blocks: tuple[Block, ...], why: Fallback) -> None:
    assert HELD.goes_on(brings(*blocks)) is why


def test_a_session_is_known_by_its_mark() -> None:
    """What its client sends of the conversation doesn't count."""
    held = replace(HELD, said=None)
    assert held.goes_on(brings(history=())) == (SUN, RAIN)


def test_thoughts_of_earlier_rounds_may_be_known_or_not() -> None:
    with_thought = Message("assistant", (Thinking("hm", "sig"), "I look.", ONE, TWO))
    results = Message("user", (SUN, RAIN))
    now = replace(ANSWER, blocks=(replace(ONE, id="toolu_5"),))
    held = replace(HELD, said=(Q, with_thought, results), answer=now)
    last = ToolResult("toolu_5", ("end",))
    without = (Q, SAID_BACK, results, now)
    assert held.goes_on(brings(last, history=without)) == (last,)
    held_without = replace(held, said=without[:3])
    assert held_without.goes_on(brings(last, history=(Q, with_thought, results, now))) == (last,)
    changed = Message("assistant", ("I look!", ONE, TWO))
    assert held.goes_on(brings(last, history=(Q, changed, results, now))) is Fallback.HISTORY


# Any answer, as it comes back over the wire

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
TEXTS = st.text("ab \n", max_size=4)


@st.composite
def answers(draw: st.DrawFn) -> Message:
    blocks: list[Block] = []
    for _ in range(draw(st.integers(0, 2))):
        blocks.append(Thinking(draw(TEXTS), "sig"))
        blocks.append(draw(TEXTS))
    for number in range(draw(st.integers(1, 8))):
        arguments = draw(st.dictionaries(st.text(max_size=3), VALUES, max_size=3))
        blocks.append(ToolUse(f"toolu_{number}", "look", arguments))
    return Message("assistant", tuple(blocks))


def as_sent_back(answer: Message) -> Message:
    """What a chat client makes of it: one text, and the calls as JSON text."""
    text = "".join(block for block in answer.blocks if isinstance(block, str))
    calls = [block for block in answer.blocks if isinstance(block, ToolUse)]
    again: list[Any] = [replace(call, input=json.loads(json.dumps(call.input))) for call in calls]
    return Message("assistant", (*((text,) if text.strip() else ()), *again))


@given(answers(), st.randoms())
def test_any_answer_is_known_again(answer: Message, random: Any) -> None:
    calls = [block for block in answer.blocks if isinstance(block, ToolUse)]
    results = [ToolResult(call.id, (f"result {call.id}",)) for call in calls]
    shuffled = random.sample(results, len(results))
    held = replace(HELD, answer=answer)
    assert held.goes_on(brings(*shuffled, history=(Q, as_sent_back(answer)))) == tuple(results)
    changed = replace(calls[0], input={**calls[0].input, "other": "argument"})
    other = replace(answer, blocks=tuple(changed if b is calls[0] else b for b in answer.blocks))
    assert held.goes_on(brings(*shuffled, history=(Q, as_sent_back(other)))) is Fallback.HISTORY
