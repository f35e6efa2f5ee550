"""How the chaos run judges: what it calls right, and that it sees what is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from claude_server.standin import ApiRequest
from lab.chaos import verdict
from lab.chaos.chart import ceiling
from lab.chaos.marks import conversations_in, mark, marks_in, text_of
from lab.chaos.plan import RATES, schedule
from lab.chaos.traffic import KINDS, Client, Question, Talk, Turn
from lab.chaos.upstream import Book, Upstream

HEADERS = {"x-should-retry": "true", "retry-after": "1"}


@pytest.fixture
def question() -> Question:
    return Client("seed", 1, 0.0).next("short")


def chunk(text: str = "", finish: str | None = None) -> str:
    return json.dumps({"choices": [{"delta": {"content": text}, "finish_reason": finish}]})


def test_calls_and_forms() -> None:
    asked = Client("seed", 1, 0.0).next("tools")
    function = {"name": asked.tools[0], "arguments": json.dumps(asked.call)}

    def called(*functions: dict[str, str]) -> str:
        calls = [{"index": i, "function": each} for i, each in enumerate(functions)]
        return json.dumps({"choices": [{"delta": {"tool_calls": calls}, "finish_reason": None}]})

    end = chunk(finish="tool_calls")
    assert stream(asked, called(function), end, "[DONE]").outcome == verdict.RIGHT
    for wrong in ({**function, "name": "other"}, {**function, "arguments": "{}"}):
        assert stream(asked, called(wrong), end, "[DONE]").outcome == verdict.WRONG
    assert stream(asked, called(function, function), end, "[DONE]").outcome == verdict.WRONG
    assert stream(asked, end, "[DONE]").outcome == verdict.WRONG
    shaped = Client("seed", 1, 0.0).next("schema")
    spaced = json.dumps(shaped.form, indent=1)
    assert stream(shaped, chunk(spaced), chunk(finish="stop"), "[DONE]").outcome == verdict.RIGHT
    assert stream(shaped, chunk("{}"), chunk(finish="stop"), "[DONE]").outcome == verdict.WRONG


def error(code: str) -> dict[str, Any]:
    return {"error": {"message": "What to do.", "type": "t", "param": None, "code": code}}


def stream(question: Question, *data: str) -> verdict.Verdict:
    return verdict.of_stream(question, [f"data: {each}" for each in data])


def test_a_seed_repeats_everything() -> None:
    first, second = (Client("seed", 1, 0.5) for _ in range(2))
    for kind in KINDS * 3:
        one, other = first.next(kind), second.next(kind)
        assert one == other
        assert conversations_in(json.dumps(one.body)) == {one.name[2:-1].rpartition(".")[0]}
    assert schedule("seed", 60) == schedule("seed", 60) != schedule("other", 60)


def test_a_run_of_any_length_has_every_fault() -> None:
    for seconds in (5.0, 300.0):
        faults = schedule("seed", seconds)
        assert {fault.kind for fault in faults} == set(RATES)
        assert all(0 <= fault.at <= seconds for fault in faults)
        assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)


def test_texts_are_named() -> None:
    name = mark("3-1", 2)
    text = text_of(name, "answer", 500)
    assert len(text) >= 500
    assert marks_in(text) == [name, name]
    assert conversations_in(json.dumps(text)) == {"3-1"}


def test_a_right_answer(question: Question) -> None:
    half = len(question.answer) // 2
    data = [chunk(question.answer[:half]), chunk(question.answer[half:]), chunk(finish="stop"), "[DONE]"]
    assert stream(question, *data).outcome == verdict.RIGHT
    message = {"message": {"content": question.answer}, "finish_reason": "stop"}
    body = json.dumps({"choices": [message], "x_claude": {"retries": 2}})
    found = verdict.of_whole(question, 200, {}, body)
    assert (found.outcome, found.facts["retries"]) == (verdict.RIGHT, 2)


def test_answers_that_are_wrong(question: Question) -> None:
    gap = question.answer[:10] + question.answer[12:]
    assert stream(question, chunk(gap), chunk(finish="stop"), "[DONE]").outcome == verdict.WRONG
    assert stream(question, chunk(question.answer, "length"), "[DONE]").outcome == verdict.WRONG
    late = stream(question, chunk("not its beginning"), json.dumps(error("cli_failed")))
    assert late.outcome == verdict.WRONG
    other = chunk(text_of(mark("9-9", 0), "answer", 10), "stop")
    assert stream(question, other, "[DONE]").outcome == "cross-talk to clients"


def test_ends_that_are_wrong(question: Question) -> None:
    whole = [chunk(question.answer), chunk(finish="stop")]
    failure = json.dumps(error("cli_failed"))
    for data in (
        whole,
        [chunk(question.answer), "[DONE]"],
        [failure, "[DONE]"],
        [*whole, failure],
        [failure, failure],
        [],
    ):
        assert stream(question, *data).outcome == verdict.BROKEN_END


def test_errors(question: Question) -> None:
    def told(status: int, body: Any, **headers: str) -> verdict.Verdict:
        return verdict.of_whole(question, status, {**HEADERS, **headers}, json.dumps(body))

    assert told(502, error("cli_failed")) == verdict.Verdict("cli_failed", retry_after=1)
    assert stream(question, json.dumps(error("timeout"))) == verdict.Verdict("timeout", after_200=True)
    assert told(500, error("internal")).outcome == verdict.STRANGE_ERROR
    assert told(500, error("cli_failed")).outcome == verdict.STRANGE_ERROR
    final = {"x-should-retry": "false"}
    assert told(503, error("overloaded"), **final).outcome == verdict.STRANGE_ERROR
    # One 401 may pass; the second one doesn't.
    for headers in ({}, final):
        assert told(503, error("cli_not_ready"), **headers).outcome == "cli_not_ready"
    assert told(429, error("queue_full"), **{"retry-after": ""}).outcome == verdict.STRANGE_ERROR
    assert told(502, {"error": {"message": "x"}}).outcome == verdict.STRANGE_ERROR
    assert verdict.of_whole(question, 502, {}, "<html>").outcome == verdict.BROKEN_END


def arrived(question: Question, *said: tuple[str, str], **more: Any) -> Book:
    """What the stand-in notes of a request that holds these messages."""
    book = Book()
    book.questions[question.name] = question
    body = {
        "model": f"claude-{question.body['model']}-4-5",
        "system": [{"type": "text", "text": question.system}],
        "messages": [{"role": role, "content": text} for role, text in said],
        **more,
    }
    raw = json.dumps(body).encode()
    Upstream(book, "seed", 0.0)(ApiRequest(1, 0.0, "POST", "/v1/messages", raw=raw, body=body))
    return book


def test_what_arrives_is_compared() -> None:
    question = Client("seed", 1, 0.0).next("history")
    asked = ("user", question.asked)
    assert arrived(question, *question.before, asked).counts == {}
    wrong = "wrong requests upstream"
    assert arrived(question, *question.before[2:], asked).counts == {wrong: 1}
    assert arrived(question, *question.before, asked, asked).counts == {wrong: 1}
    assert arrived(question, *question.before, ("user", question.asked[:-1])).counts == {wrong: 1}
    assert arrived(question, *question.before, asked, model="other").counts == {wrong: 1}
    stranger = ("assistant", text_of(mark("9-9", 0), "answer", 10))
    assert arrived(question, stranger, asked).counts == {"cross-talk upstream": 1}
    assert arrived(question, ("user", "who are you?")).counts == {"strange requests": 1}


def test_what_a_session_may_hold() -> None:
    turns = [(("user", f"q{n}"), ("assistant", f"a{n}")) for n in range(3)]
    talk = Talk("t", "", False, [Turn(turns[0], True), Turn(turns[1], None), Turn(turns[2], False)])
    assert talk.goes_on(turns[0])
    assert talk.goes_on((*turns[0], *turns[1]))
    assert not talk.goes_on(())
    assert not talk.goes_on(turns[1])
    assert not talk.goes_on((*turns[0], *turns[2]))
    assert talk.history() == turns[0]
    asked = replace(Client("seed", 1, 0.0).next("session"), talk=talk, before=())
    assert arrived(asked, *turns[0], ("user", asked.asked)).went_on == {asked.name: True}
    assert arrived(asked, ("user", asked.asked)).went_on == {asked.name: False}


def test_scales() -> None:
    assert [ceiling(value) for value in (0, 0.3, 1, 7, 120, 5001)] == [1, 0.5, 1, 10, 200, 10000]
