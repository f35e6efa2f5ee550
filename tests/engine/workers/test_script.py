"""What a process is started with for a turn."""

from __future__ import annotations

from dataclasses import replace

import pytest

from claude_server.core.model import (
    AttemptRequest,
    Message,
    ModelInfo,
    SessionPlan,
    Thinking,
    ToolResult,
    ToolUse,
    TurnRequest,
)
from claude_server.engine.processes.argv import Launch
from claude_server.engine.protocol.frames import NO_MODEL
from claude_server.engine.protocol.transcript import transcript
from claude_server.engine.workers.attempt_spec import AttemptSpec, attempt_spec
from claude_server.engine.workers.script import LONG_HISTORY, launch_for
from tests.engine.scripted import ABLE

MODELS = (ModelInfo("sonnet", "Sonnet", "claude-sonnet-x"), ModelInfo("default", "Default", "claude-opus-x"))
CALL = ToolUse("toolu_1", "look", {})
RESULT = ToolResult(CALL.id, ("found",))
READS = replace(ABLE, transcripts=True)


def asked(*last: Message, model: str | None = "sonnet", session: SessionPlan | None = None) -> AttemptSpec:
    """A turn after `LONG_HISTORY` messages, the last of them `last`."""
    said = [Message(("user", "assistant")[n % 2], (f"m{n}",)) for n in range(LONG_HISTORY)]
    history = (*said[: LONG_HISTORY - len(last)], *last)
    question = Message("user", (RESULT,) if CALL in history[-1].blocks else ("and?",))
    turn = TurnRequest("t", question, history, model=model)
    return attempt_spec(AttemptRequest(turn, "S", history, session), MODELS)


def launched(spec: AttemptSpec, *, reads: bool = True) -> Launch:
    return launch_for(spec, "warm", frozenset({"sonnet"}), READS if reads else ABLE)


def test_a_long_history_is_read() -> None:
    launch = launched(asked(Message("assistant", (CALL,))))
    assert launch.model == "sonnet" and launch.conversation is not None
    assert len(launch.conversation.messages) == LONG_HISTORY and launch.conversation.results == (RESULT,)
    assert b"claude-sonnet-x" in transcript(launch.conversation, "now")


def test_what_is_told_all_the_same() -> None:
    spec = asked()
    short = replace(spec, request=replace(spec.request, history=spec.request.history[2:]))
    session = asked(session=SessionPlan("u", "create"))
    assert [launched(spec, reads=False), launched(short), launched(session)] == [
        Launch(),
        Launch(),
        Launch("sonnet", SessionPlan("u", "create")),
    ]


@pytest.mark.parametrize("model", [None, "sonnet"])
def test_the_default_model_is_not_replaced_by_one_that_answered_before(model: str | None) -> None:
    """The CLI would take the one that the transcript names; without a name it leaves thoughts out."""
    launch = launched(asked(model=model))
    thoughtful = launched(asked(Message("assistant", (Thinking("h", "s"), CALL)), model=model))
    assert launch.conversation is not None
    names = NO_MODEL if model is None else "claude-sonnet-x"
    assert f'"model":"{names}"'.encode() in transcript(launch.conversation, "now")
    assert (thoughtful.conversation is None) == (model is None)
