"""The last resort: text in, one JSON answer out."""

from __future__ import annotations

from typing import Any

import pytest

from claude_server.core.errors import CliFailed, Overloaded, SessionLost
from claude_server.core.model import Message, TextDelta, TurnDone, TurnStarted, Usage
from claude_server.engine.protocol.events import TurnTranslator
from claude_server.engine.protocol.plain import PlainDialogue

Q1, A1 = Message("user", ("Q1",)), Message("assistant", ("A1",))
Q2 = Message("user", ("Q2", "more"))


def result(**fields: Any) -> dict[str, Any]:
    return {
        "type": "result",
        "subtype": "success",
        "is_error": False,
        "num_turns": 1,
        "result": "Hello",
        "stop_reason": "end_turn",
        "total_cost_usd": 0.25,
        "usage": {"input_tokens": 3, "output_tokens": 5},
        "modelUsage": {"claude-x": {"inputTokens": 3, "outputTokens": 5}},
        **fields,
    }


def dialogue(history: tuple[Message, ...] = (), question: Message = Q2) -> PlainDialogue:
    return PlainDialogue(history, question, TurnTranslator(engine="plain"))


@pytest.mark.parametrize(
    ("history", "question", "text"),
    [
        ((), Q2, "Q2\nmore"),
        ((Q1, A1), Q2, "User: Q1\n\nAssistant: A1\n\nUser: Q2\nmore\n\nAssistant:"),
        # It would be run as a command.
        ((), Message("user", ("/clear",)), " /clear"),
        ((Message("user", ("/clear",)), A1), Q1, "User: /clear\n\nAssistant: A1\n\nUser: Q1\n\nAssistant:"),
        ((), Message("user", ("a", "/b")), "a\n/b"),
        ((), Message("user", ("é\u2028\ud800",)), "é\u2028?"),
    ],
)
def test_what_is_written(history: tuple[Message, ...], question: Message, text: str) -> None:
    assert dialogue(history, question).start() == text.encode()


def test_the_input_ends_with_it() -> None:
    assert dialogue().closes_input


def test_a_result() -> None:
    translator = TurnTranslator(engine="plain")
    data, events = PlainDialogue((), Q1, translator).receive(result())
    assert data == b""
    assert events[:2] == [TurnStarted("claude-x"), TextDelta("Hello")]
    (end,) = events[2:]
    assert isinstance(end, TurnDone)
    assert (end.stop_reason, end.model, end.engine) == ("end_turn", "claude-x", "plain")
    assert (end.usage, end.cost_usd) == (Usage(3, 0, 0, 5), 0.25)
    assert (translator.done, translator.clean) == (True, True)


@pytest.mark.parametrize("models", [None, {}])
def test_a_result_that_names_no_model(models: object) -> None:
    _, events = dialogue().receive(result(modelUsage=models))
    assert events[0] == TurnStarted("unknown")


@pytest.mark.parametrize("words", [None, ""])
def test_a_result_without_a_text(words: object) -> None:
    _, events = dialogue().receive(result(result=words))
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == ""
    assert isinstance(events[-1], TurnDone)


@pytest.mark.parametrize(
    "frame", [{"type": "system"}, {"type": "assistant", "message": {}}, {"type": "control_request"}]
)
def test_other_frames_are_passed_over(frame: dict[str, Any]) -> None:
    assert dialogue().receive(frame) == (b"", ())


def test_a_second_result_is_passed_over() -> None:
    talk = dialogue()
    talk.receive(result())
    assert talk.receive(result()) == (b"", ())


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (result(is_error=True, api_error_status=529, result="API Error: 529"), Overloaded),
        (result(is_error=True, num_turns=0, result="No conversation found with session ID"), SessionLost),
        (result(subtype="error_during_execution"), CliFailed),
        # A command of the CLI's own.
        (result(num_turns=0), CliFailed),
        (result(num_turns=None), CliFailed),
    ],
)
def test_a_result_that_is_a_failure(frame: dict[str, Any], kind: type[Exception]) -> None:
    talk = dialogue()
    with pytest.raises(kind):
        talk.receive(frame)
