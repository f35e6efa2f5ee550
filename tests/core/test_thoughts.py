"""Thoughts before calls: read from an answer, put back, and left out where the API refuses them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claude_server.core.backend import EngineState
from claude_server.core.errors import InvalidRequest, ThoughtsMissing, ThoughtsRefused
from claude_server.core.model import (
    ApiBlock,
    AttemptRequest,
    Block,
    BlockEnded,
    Message,
    ModelInfo,
    RedactedThinking,
    SessionPlan,
    TextDelta,
    Thinking,
    ToolCallDelta,
    ToolCallStarted,
    ToolResult,
    ToolUse,
    TurnDone,
    TurnEvent,
    TurnRequest,
    TurnStarted,
    Usage,
)
from claude_server.core.ports import CallThoughts
from claude_server.core.thoughts import (
    AnswerThoughts,
    Thoughts,
    TurnThoughts,
    fingerprint,
    with_thoughts,
)
from claude_server.stores.thoughts import SqliteThoughtStore
from tests.support import IdleBackend

MODEL, OTHER = "claude-x-5", "claude-y-5"
T1, T2, HIDDEN = Thinking("one", "s1"), Thinking("two", "s2"), RedactedThinking("ZGF0YQ==")
A, B = ToolUse("toolu_a", "f", {}), ToolUse("toolu_b", "f", {})
DONE = TurnDone("tool_use", Usage(), MODEL, None, 1)


class Listing(IdleBackend):
    """A backend that only lists models."""

    state = EngineState(True, "warm")
    models = (ModelInfo("x", "X", MODEL), ModelInfo("y", "Y", OTHER))


def events(*blocks: Block) -> list[TurnEvent]:
    """What is told of an answer of these blocks."""
    made: list[TurnEvent] = [TurnStarted(MODEL)]
    for block in blocks:
        if isinstance(block, str):
            made += [TextDelta(block), BlockEnded()]
        elif isinstance(block, ToolUse):
            made += [ToolCallStarted(block.id, block.name), ToolCallDelta("{}"), BlockEnded()]
        else:
            assert isinstance(block, Thinking | RedactedThinking)
            made.append(BlockEnded(block))
    return [*made, DONE]


def notes_of(*blocks: Block, model: str = MODEL) -> Mapping[str, CallThoughts]:
    read = AnswerThoughts()
    for event in events(*blocks):
        read.feed(event)
    return {note.call: note for note in read.of(model)}


def said(*blocks: Block) -> tuple[Message, ...]:
    return (Message("user", ("q",)), Message("assistant", blocks))


# Where they were


@pytest.mark.parametrize(
    "answer",
    [
        (T1, A),
        (T1, HIDDEN, A, B),
        (T1, "I look.", A, B),
        ("I look.", T1, A),
        (T1, "I look.", T2, A),
        (HIDDEN, A, T1, B),
        (T1, A, T2, "And", HIDDEN, B),
        (A, T1, "And", B),
        (A,),
        ("I look.", A, B),
    ],
)
def test_what_a_client_sends_without_thoughts_is_whole_again(answer: tuple[Block, ...]) -> None:
    sent = tuple(message.without_thoughts for message in said(*answer))
    assert with_thoughts(sent, notes_of(*answer), MODEL) == said(*answer)
    # A client that sends them too changes nothing, wherever it puts them.
    front = sorted(answer, key=lambda block: not isinstance(block, Thinking | RedactedThinking))
    assert with_thoughts(said(*front), notes_of(*answer), MODEL) == said(*answer)


def test_thoughts_that_lead_to_no_call_are_not_noted() -> None:
    assert notes_of(T1, "Done.") == {}
    assert list(notes_of(A, T1, "Done.")) == []


def test_the_texts_of_an_answer_may_come_back_as_one() -> None:
    notes = notes_of(T1, "One", T2, "two", A)
    assert with_thoughts(said("One two", A), notes, MODEL) == said(T1, "One two", T2, A)
    assert with_thoughts(said(A), notes, MODEL) == said(T1, T2, A)


def test_thoughts_before_a_text_that_cites() -> None:
    cites = ApiBlock('{"type": "text", "text": "So.", "citations": []}')
    notes = notes_of(T1, "So.", T2, A)
    assert with_thoughts(said(cites, A), notes, MODEL) == said(T1, cites, T2, A)


def test_what_is_not_known_stays_as_the_client_sent_it() -> None:
    for messages in (said(T1, "a", A), said(T1, "a"), said("a", A)):
        assert with_thoughts(messages, notes_of(T2, B), MODEL) == messages


def test_thoughts_of_another_model_are_left_out() -> None:
    notes = notes_of(T1, A, model=OTHER)
    for sent in (said(A), said(T1, A)):
        assert with_thoughts(sent, notes, MODEL) == said(A)
        assert with_thoughts(sent, notes, OTHER) == said(T1, A)


def test_what_was_refused_is_left_out() -> None:
    messages = said(T1, HIDDEN, T2, "a", A)
    refused = {fingerprint(T1), fingerprint(HIDDEN)}
    assert with_thoughts(messages, {}, MODEL, refused) == said(T2, "a", A)
    assert with_thoughts(said("a", A), notes_of(T1, T2, A), MODEL, refused) == said(T2, "a", A)


def test_results_hold_no_thoughts() -> None:
    question = Message("user", (ToolResult(A.id, ("r",)),))
    assert with_thoughts((*said(A), question), notes_of(T1, A), MODEL) == (*said(T1, A), question)


# In turns


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[SqliteThoughtStore, None]:
    made = SqliteThoughtStore(tmp_path)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def thoughts(store: SqliteThoughtStore) -> Thoughts:
    """After an answer of the model x that thought and called."""
    made = Thoughts(store)
    await answer(made, T1, "I look.", A)
    return made


def turn(**fields: Any) -> TurnRequest:
    results = Message("user", (ToolResult(A.id, ("r",)),))
    base = TurnRequest(id="t", question=results, history=said("I look.", A), model="x", owner="key")
    return replace(base, **fields)


async def answer(thoughts: Thoughts, *blocks: Block, **fields: Any) -> TurnDone:
    """An answer, read; its end."""
    reader = TurnThoughts(thoughts, turn(**fields), Listing())
    end = [await reader.seen(event) for event in events(*blocks)][-1]
    assert isinstance(end, TurnDone)
    return end


async def asked(thoughts: Thoughts, session: SessionPlan | None = None, **fields: Any) -> AttemptRequest:
    made = turn(**fields)
    request = AttemptRequest(made, "", () if session else made.history, session)
    return await TurnThoughts(thoughts, made, Listing()).request(request)


@pytest.mark.parametrize("model", ["x", MODEL])
async def test_thoughts_come_back_with_the_calls_id(thoughts: Thoughts, model: str) -> None:
    request = await asked(thoughts, model=model)
    assert request.history == said(T1, "I look.", A) and request.turn.thinking


@pytest.mark.parametrize("fields", [{"owner": "other"}, {"model": "y"}, {"history": said(B)}])
async def test_not_for_another_key_model_or_call(thoughts: Thoughts, fields: dict[str, Any]) -> None:
    request = await asked(thoughts, **fields)
    assert request.history == fields.get("history", said("I look.", A))


async def test_what_a_session_holds(thoughts: Thoughts) -> None:
    """The CLI keeps it: what is known is whether its model can go on thinking."""
    plan = SessionPlan("u", "resume")
    for fields, thoughtful in (({}, True), ({"model": "y"}, False), ({"owner": "other"}, False)):
        request = await asked(thoughts, plan, **fields)
        assert (request.history, request.session) == ((), replace(plan, thoughtful=thoughtful))


async def test_without_a_store_only_what_the_client_sends() -> None:
    nothing = Thoughts()
    assert (await answer(nothing, T1, A)).notices == ()
    assert (await asked(nothing)).history == said("I look.", A)
    assert (await asked(nothing, history=said(T1, A))).history == said(T1, A)


async def test_a_store_that_fails_costs_the_thoughts_and_is_told(
    thoughts: Thoughts, store: SqliteThoughtStore, tmp_path: Path
) -> None:
    await store.save("key", [CallThoughts(B.id, MODEL, (T2,))])
    fresh = SqliteThoughtStore(tmp_path)
    await fresh.open()
    await fresh._db.rows("DROP TABLE thoughts")
    reader = TurnThoughts(Thoughts(fresh), turn(), Listing())
    request = await reader.request(AttemptRequest(turn(), "", said(B)))
    assert request.history == said(B)
    end = [await reader.seen(event) for event in events(T1, A)][-1]
    assert isinstance(end, TurnDone)
    assert [notice.split(":")[0] for notice in end.notices] == [
        "earlier thinking can't be read, and was left out",
        "the model's thinking can't be kept for the next request",
    ]
    await fresh.close()


# What the API refuses


async def test_refused_thoughts_are_left_out_once_and_for_all(thoughts: Thoughts) -> None:
    reader = TurnThoughts(thoughts, turn(), Listing())
    before = await reader.request(AttemptRequest(turn(), "", turn().history))
    assert before.history == said(T1, "I look.", A)
    assert reader.leave_out(ThoughtsRefused("x"))
    after = await reader.request(AttemptRequest(turn(), "", turn().history))
    assert (after.history, after.turn.thinking) == (said("I look.", A), True)
    assert not reader.leave_out(ThoughtsRefused("x")) and not reader.leave_out(ThoughtsMissing("x"))
    end = await reader.seen(DONE)
    assert isinstance(end, TurnDone)
    assert end.notices == ("the API refused earlier thinking: the model was asked again without it",)
    # The next turn doesn't try them again, but what was thought since.
    await answer(thoughts, T2, B)
    assert (await asked(thoughts, history=said(A, B))).history == said(A, T2, B)


async def test_there_must_be_something_to_leave_out(thoughts: Thoughts) -> None:
    reader = TurnThoughts(thoughts, turn(history=said(B)), Listing())
    await reader.request(AttemptRequest(turn(), "", said(B)))
    assert not reader.leave_out(ThoughtsRefused("x"))


async def test_a_model_that_wants_thoughts_does_not_think_without_them(thoughts: Thoughts) -> None:
    reader = TurnThoughts(thoughts, turn(history=said(B)), Listing())
    request = AttemptRequest(turn(), "", said(B))
    assert (await reader.request(request)).turn.thinking
    assert reader.leave_out(ThoughtsMissing("x"))
    assert not (await reader.request(request)).turn.thinking
    # It is remembered for the model, where there are results and no thoughts.
    for fields, thinking in (
        ({"history": said(B)}, False),
        ({"history": said(B), "owner": "other"}, False),
        ({}, True),
        ({"history": said(B), "question": Message("user", ("q",))}, True),
        ({"history": said(B), "model": "y"}, True),
    ):
        assert (await asked(thoughts, **fields)).turn.thinking is thinking


async def test_thoughts_that_the_cli_left_out_are_not_held_against_the_model(thoughts: Thoughts) -> None:
    """It leaves out what was refused and asks again; then the API misses them."""
    reader = TurnThoughts(thoughts, turn(), Listing())
    request = AttemptRequest(turn(), "", turn().history)
    await reader.request(request)
    assert reader.leave_out(ThoughtsMissing("x"))
    again = await reader.request(request)
    assert (again.history, again.turn.thinking) == (said("I look.", A), False)
    assert (await asked(thoughts, history=said(B))).turn.thinking


def test_both_are_refusals_of_the_request() -> None:
    assert issubclass(ThoughtsRefused, InvalidRequest) and issubclass(ThoughtsMissing, InvalidRequest)
