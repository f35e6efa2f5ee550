"""Requests as tests see them."""

from __future__ import annotations

import threading
from typing import Any

from claude_server.standin.log import ApiRequest, RequestLog

ENVIRONMENT = "# Environment\nYou have been invoked in the following environment:\n - Platform: linux"


def request(**body: Any) -> ApiRequest:
    return ApiRequest(1, 0.0, "POST", "/v1/messages", body=body)


def add(log: RequestLog, path: str = "/v1/messages", raw: bytes = b"{}") -> ApiRequest:
    return log.add("POST", path, "", {}, raw, {})


def test_what_the_cli_adds_is_no_conversation() -> None:
    messages = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "<system-reminder>\ncontext\n</system-reminder>\n\n"},
                {"type": "text", "text": "one, "},
                {"type": "image", "source": {}},
                {"type": "text", "text": "two", "cache_control": {"type": "ephemeral"}},
            ],
        },
        {"role": "system", "content": ENVIRONMENT},
        {"role": "system", "content": [{"type": "text", "text": "Today's date is 2026-01-01."}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "x", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x", "content": "r"}]},
        {"role": "system", "content": "Be brief."},
    ]
    found = request(messages=messages)
    assert found.conversation == [("user", "one, two"), ("system", "Be brief.")]
    assert found.last_user_text == "two"


def test_a_text_that_only_mentions_a_reminder_stays() -> None:
    text = "What does <system-reminder>x</system-reminder> mean?"
    found = request(messages=[{"role": "user", "content": text}])
    assert found.conversation == [("user", text)]
    assert found.last_user_text == text


def test_short_ways_to_the_body() -> None:
    found = request(
        model="m",
        stream=True,
        system=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        tools=[{"name": "f"}, {"name": "g"}],
    )
    assert (found.model, found.stream, found.system_texts, found.tools) == ("m", True, ["a", "b"], ["f", "g"])
    assert request(system="only").system_texts == ["only"]


def test_an_empty_body_is_no_error() -> None:
    found = ApiRequest(1, 0.0, "GET", "/")
    assert (found.model, found.stream, found.system_texts, found.tools) == ("", False, [], [])
    assert (found.messages, found.conversation, found.last_user_text) == ([], [], "")
    assert not found.is_turn
    assert found.outcome == "pending"


def test_the_log_keeps_the_latest() -> None:
    log = RequestLog(keep=2)
    for path in ("/a", "/v1/messages", "/b"):
        add(log, path)
    assert [r.path for r in log.snapshot()] == ["/v1/messages", "/b"]
    assert [r.number for r in log.snapshot()] == [2, 3]
    assert repr(log) == "<RequestLog seen=3 turns=1 kept=2>"


def test_the_log_is_bounded_in_bytes_too() -> None:
    log = RequestLog(keep_bytes=10)
    for size in (4, 4, 4, 100):
        add(log, raw=b"x" * size)
    assert [len(r.raw) for r in log.snapshot()] == [100]
    add(log, raw=b"x")
    assert [len(r.raw) for r in log.snapshot()] == [1]
    assert log.bytes_in == 113


def test_clearing_keeps_the_counters() -> None:
    log = RequestLog()
    add(log)
    log.clear()
    assert (log.snapshot(), log.requests_seen, log.turns_since_clear()) == ([], 1, 0)
    assert add(log).number == 2
    assert log.turns_since_clear() == 1


def test_waiting_ends_when_something_comes() -> None:
    log = RequestLog()
    assert not log.wait(lambda: log.turns_seen > 0, timeout=0.0)
    seen = []
    waiting = threading.Thread(target=lambda: seen.append(log.wait(lambda: log.turns_seen > 1, timeout=10.0)))
    waiting.start()
    add(log)
    add(log)
    waiting.join()
    assert seen == [True]


def test_the_end_of_an_answer_is_noted() -> None:
    log = RequestLog()
    found = add(log)
    log.finish(found, "complete")
    assert found.outcome == "complete"
