"""Earlier messages as the rows of a transcript."""

from __future__ import annotations

import json
import uuid

from claude_server.core.model import Message, Thinking, ToolResult, ToolUse
from claude_server.engine.protocol import frames
from claude_server.engine.protocol.transcript import Conversation, transcript

CALL = ToolUse("toolu_1", "look", {"where": "\u2028"})
HISTORY = (
    Message("user", ("/one",)),
    Message("assistant", ("two",)),
    Message("user", ("three",)),
    Message("assistant", (Thinking("hm", "s1"), "so", CALL)),
)
RESULT = ToolResult(CALL.id, ("found",))
NOW = "2026-01-02T03:04:05+00:00"


def test_rows_follow_on_each_other_and_hold_what_a_process_would_be_told() -> None:
    told = Conversation.before(Message("user", (RESULT, "and now?")), HISTORY, "claude-x")
    rows = [json.loads(line) for line in transcript(told, NOW).splitlines()]
    assert [row["type"] for row in rows] == [*(message.role for message in HISTORY), "user"]
    assert [row["parentUuid"] for row in rows] == [None, *(row["uuid"] for row in rows[:-1])]
    assert len({str(uuid.UUID(row["uuid"])) for row in rows}) == len(rows)
    assert {row["timestamp"] for row in rows} == {NOW}
    # A command stays a text, as where a process is told of it.
    said = [frames.user(m.blocks) if m.role == "user" else frames.assistant(m.blocks) for m in HISTORY]
    assert [row["message"]["content"] for row in rows[:-1]] == [f["message"]["content"] for f in said]
    assert rows[0]["message"]["content"] == [{"type": "text", "text": " /one"}]
    assert {row["message"]["model"] for row in rows if row["type"] == "assistant"} == {"claude-x"}
    # It goes on before the results, which are there for the calls not to be dropped.
    assert rows[-2]["uuid"] == told.last_id
    (result,) = rows[-1]["message"]["content"]
    assert (result["type"], result["tool_use_id"]) == ("tool_result", CALL.id)


def test_a_question_without_results_adds_nothing() -> None:
    told = Conversation.before(Message("user", ("three",)), HISTORY[:2], "")
    rows = [json.loads(line) for line in transcript(told, NOW).splitlines()]
    assert [row["type"] for row in rows] == ["user", "assistant"]
    assert rows[-1]["uuid"] == told.last_id


def test_each_conversation_is_one_of_its_own() -> None:
    """It is part of what a process is started for, which another turn must not get."""
    assert Conversation(HISTORY) != Conversation(HISTORY)
    assert len({Conversation(HISTORY), Conversation(HISTORY)}) == 2
