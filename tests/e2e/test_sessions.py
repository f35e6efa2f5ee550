"""Sessions over the real CLI: what is kept, what leaves no trace, and what survives SIGKILL."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from claude_server.standin import Answer, ApiError, Cut, Reply, StandIn
from tests.support import PATIENCE, Server, clean_environment, serving, wait_until_gone

LONG = "All work and no play makes Jack a dull boy. " * 20


@pytest.fixture(scope="module")
def server(each_cli: Path, shared_api: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Server:  # type: ignore[misc]
    """A server with each CLI version."""
    home = tmp_path_factory.mktemp("home")
    environment = clean_environment(
        home, shared_api.url, CLAUDE_BIN=str(each_cli), CLAUDE_BASE_BACKOFF="0.05", CLAUDE_MAX_RETRIES="1"
    )
    with serving(home, environment) as running:
        yield running


def say(server: Server, session: str, *texts: str, system: str = "", stream: bool = False) -> httpx.Response:
    """A turn; with several texts the earlier ones are history."""
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    body = {"model": "sonnet", "messages": messages, "session_id": session, "stream": stream}
    return httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=PATIENCE)


def text(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    content: str = response.json()["choices"][0]["message"]["content"]
    return content


def test_a_session_goes_on(server: Server, api: StandIn) -> None:
    session = str(uuid.uuid4())
    api.push("One.", "Two.")
    first = say(server, session, "Say one.", system="Count.")
    assert (text(first), first.headers["x-claude-session"]) == ("One.", "created")
    second = say(server, session, "old", "older", "Say two.")
    assert (text(second), second.headers["x-claude-session"]) == ("Two.", "resumed")
    assert api.last.conversation == [("user", "Say one."), ("assistant", "One."), ("user", "Say two.")]
    assert api.last.system_texts[-1] == "Count."
    assert second.json()["x_claude"]["session_id"] == session
    # What the turn cost, not what the session cost so far.
    costs = [r.json()["x_claude"]["cost_usd"] for r in (first, second)]
    assert costs[1] < 2 * costs[0]


def test_the_first_use_takes_the_history_along(server: Server, api: StandIn) -> None:
    session = f"any string — {uuid.uuid4()}"
    api.push("Three.", "Four.")
    say(server, session, "one", "two", "Say three.")
    say(server, session, "Say four.")
    assert api.last.conversation == [
        ("user", "one"),
        ("assistant", "two"),
        ("user", "Say three."),
        ("assistant", "Three."),
        ("user", "Say four."),
    ]


def test_streamed_turns_are_kept_too(server: Server, api: StandIn) -> None:
    session = str(uuid.uuid4()).upper()
    api.push("One.", "Two.")
    response = say(server, session, "Say one.", stream=True)
    assert "data: [DONE]" in response.text and response.headers["x-claude-session"] == "created"
    # The same session: a UUID means the same in any case.
    assert say(server, session.lower(), "Say two.").headers["x-claude-session"] == "resumed"
    assert ("assistant", "One.") in api.last.conversation


def test_a_changed_system_prompt_is_ignored_and_said(server: Server, api: StandIn) -> None:
    session = str(uuid.uuid4())
    say(server, session, "hi", system="First.")
    answer = say(server, session, "again", system="Second.").json()
    assert api.last.system_texts[-1] == "First."
    assert any("system prompt" in notice for notice in answer["x_claude"]["notices"])


def test_a_changed_model_holds_from_that_turn(server: Server, api: StandIn) -> None:
    session = str(uuid.uuid4())
    say(server, session, "hi")
    first = api.last.model
    body = {
        "model": "haiku",
        "messages": [{"role": "user", "content": "again"}],
        "session_id": session,
    }
    httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=PATIENCE)
    assert "haiku" in api.last.model and "haiku" not in first


@pytest.mark.parametrize(
    "failure", [ApiError(529), ApiError(400), Cut(chars=0), Cut(Reply.of(LONG, delay=0.02), chars=100)]
)
@pytest.mark.parametrize("first", [True, False])
def test_a_failed_turn_leaves_no_trace(server: Server, api: StandIn, failure: Answer, first: bool) -> None:
    """Neither in a session's first turn nor in a later one."""
    session = str(uuid.uuid4())
    if not first:
        api.push("Fine.")
        say(server, session, "Before.")
    api.push(failure, failure)
    assert say(server, session, "THIS FAILS").status_code >= 400
    api.clear()
    api.push("And on.")
    assert text(say(server, session, "After.")) == "And on."
    before = [] if first else [("user", "Before."), ("assistant", "Fine.")]
    assert api.last.conversation == [*before, ("user", "After.")]
    # And in the turn after that, which resumes what the failed turn forked from.
    say(server, session, "Once more.")
    assert api.last.conversation == [
        *before,
        *(("user", "After."), ("assistant", "And on."), ("user", "Once more.")),
    ]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("reason", ["max_tokens", "refusal"])
def test_a_cut_answer_is_kept_as_it_was_given(
    server: Server, api: StandIn, reason: str, stream: bool
) -> None:
    """The CLI would go on by itself; it is interrupted, and nothing of that is in the session."""
    session = str(uuid.uuid4())
    api.push("One.", Reply.of("Half of two", stop_reason=reason))
    say(server, session, "Say one.")
    cut = say(server, session, "Say two.", stream=stream)
    assert ('"length"' if reason == "max_tokens" else '"content_filter"') in cut.text
    # Its next request is sometimes quicker than the interrupt.
    assert len(api.turns) in (2, 3)
    after = say(server, session, "Say three.")
    assert after.headers["x-claude-session"] == "resumed"
    assert [said for _, said in api.last.conversation] == [
        *("Say one.", "One.", "Say two.", "Half of two", "Say three.")
    ]


def test_a_retried_turn_is_there_once(server: Server, api: StandIn) -> None:
    session = str(uuid.uuid4())
    api.push("One.", ApiError(529), "Two.")
    say(server, session, "Say one.")
    assert text(say(server, session, "Say two.")) == "Two."
    say(server, session, "Say three.")
    assert api.last.conversation == [
        *(("user", "Say one."), ("assistant", "One."), ("user", "Say two."), ("assistant", "Two.")),
        ("user", "Say three."),
    ]


def test_a_client_that_leaves_leaves_no_trace(server: Server, api: StandIn) -> None:
    session = str(uuid.uuid4())
    api.push("One.", Reply.of(LONG, delay=2, chunk_chars=30))
    say(server, session, "Say one.")
    body = {
        "model": "sonnet",
        "messages": [{"role": "user", "content": "LEFT ALONE"}],
        "session_id": session,
        "stream": True,
    }
    with httpx.stream("POST", f"{server.base_url}/chat/completions", json=body, timeout=PATIENCE) as response:
        lines = response.iter_lines()
        assert any("All work" in line for line in lines)
    api.push("Two.")
    assert text(say(server, session, "Say two.")) == "Two."
    assert api.last.conversation == [("user", "Say one."), ("assistant", "One."), ("user", "Say two.")]


def test_turns_of_one_session_run_one_after_the_other(server: Server, api: StandIn) -> None:
    session = str(uuid.uuid4())
    say(server, session, "start")
    api.responder = lambda request: Reply.of("ok " + request.last_user_text, first_delay=0.3)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda i: text(say(server, session, f"n{i}")), range(4)))
    assert sorted(answers) == [f"ok n{i}" for i in range(4)]
    lengths = sorted(len(request.conversation) for request in api.turns)
    assert lengths == [1, 3, 5, 7, 9]


def test_different_sessions_run_in_parallel(server: Server, api: StandIn) -> None:
    """Both are at the API at once: each is only answered when the other has arrived too."""
    api.push(*[Reply.of("ok", first_delay=1.5)] * 2)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda i: say(server, str(uuid.uuid4()), f"n{i}"), range(2)))
    first, second = api.turns
    assert second.at - first.at < 1.5


def test_a_session_that_the_cli_lost_is_made_again(server: Server, api: StandIn) -> None:
    session = str(uuid.uuid4())
    say(server, session, "Say one.", system="Count.")
    (transcript,) = (server.home / ".claude" / "projects").glob(f"*/{session}.jsonl")
    transcript.unlink()
    # The process that holds the session would know it still.
    for process in server.claude_processes():
        kill(process)
    answer = say(server, session, "one", "two", "Say three.")
    assert answer.headers["x-claude-session"] == "recreated"
    assert api.last.conversation == [("user", "one"), ("assistant", "two"), ("user", "Say three.")]
    assert say(server, session, "Say four.").headers["x-claude-session"] == "resumed"
    assert len(api.last.conversation) == 5


def test_a_transcript_without_a_record_is_resumed(each_cli: Path, api: StandIn, tmp_path: Path) -> None:
    home = tmp_path / "home"
    environment = clean_environment(home, api.url, CLAUDE_BIN=str(each_cli))
    session = str(uuid.uuid4())
    api.push("One.")
    with serving(home, environment) as server:
        say(server, session, "Say one.")
    for file in (home / "state").glob("sessions.sqlite3*"):
        file.unlink()
    with serving(home, environment) as server:
        answer = say(server, session, "Say two.")
        assert answer.headers["x-claude-session"] == "resumed"
        assert api.last.conversation == [("user", "Say one."), ("assistant", "One."), ("user", "Say two.")]
        assert say(server, session, "Say three.").status_code == 200
        assert len(api.last.conversation) == 5


def test_without_records_a_key_finds_its_own_conversation_only(
    each_cli: Path, api: StandIn, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    keys = {name: f"{name}-key-of-sixteen-or-more" for name in ("first", "second")}
    environment = clean_environment(home, api.url, CLAUDE_BIN=str(each_cli), API_KEYS=",".join(keys.values()))
    session = str(uuid.uuid4())

    def forget() -> None:
        for file in (home / "state").glob("sessions.sqlite3*"):
            file.unlink()

    def turn(server: Server, key: str, said: str) -> str:
        body = {"messages": [{"role": "user", "content": said}], "session_id": session}
        url = f"{server.base_url}/chat/completions"
        answer = httpx.post(url, json=body, headers=bearer(key), timeout=PATIENCE)
        return str(answer.headers.get("x-claude-session") or answer.json()["error"]["code"])

    def delete(server: Server, key: str) -> int:
        url = f"{server.base_url}/sessions/{session}"
        return httpx.delete(url, headers=bearer(key), timeout=PATIENCE).status_code

    def bearer(key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {keys[key]}"}

    with serving(home, environment) as server:
        assert turn(server, "first", "SECRET") == "created"
    forget()
    with serving(home, environment) as server:
        assert turn(server, "second", "Hello.") == "session_conflict"
        assert delete(server, "second") == 404
        assert len(api.turns) == 1
        assert turn(server, "first", "Again.") == "resumed"
        assert [said for role, said in api.last.conversation if role == "user"] == ["SECRET", "Again."]
    # As an older server left it: nothing says whose it is.
    forget()
    shutil.rmtree(home / "state" / "owners")
    with serving(home, environment) as server:
        assert delete(server, "second") == 404
        assert turn(server, "second", "Hello.") == "created"
        assert api.last.conversation == [("user", "Hello.")] and "SECRET" not in api.last.raw.decode()
        assert turn(server, "first", "Again.") == "session_conflict"
        assert delete(server, "second") == 200
        assert turn(server, "first", "Again.") == "created"


def test_a_turn_hidden_by_a_goodbye_is_found(server: Server, api: StandIn) -> None:
    """A process that ended by itself notes where a resume begins; the note hides later turns whose process
    was killed. Such a note is put there, between two turns."""
    session = str(uuid.uuid4())
    api.push("One.", "Two.", "Three.")
    say(server, session, "Say one.")
    (transcript,) = (server.home / ".claude" / "projects").glob(f"*/{session}.jsonl")
    (last,) = [
        line for line in map(json.loads, transcript.read_text().splitlines()) if line["type"] == "assistant"
    ]
    with transcript.open("a") as file:
        file.write(json.dumps({"type": "last-prompt", "leafUuid": last["uuid"], "sessionId": session}) + "\n")
    say(server, session, "Say two.")
    assert text(say(server, session, "Say three.")) == "Three."
    assert [said for role, said in api.last.conversation] == [
        *("Say one.", "One.", "Say two.", "Two.", "Say three.")
    ]


@pytest.mark.parametrize("turns", [8, pytest.param(26, marks=pytest.mark.long)])
def test_nothing_that_was_answered_is_lost(each_cli: Path, api: StandIn, tmp_path: Path, turns: int) -> None:
    """Again and again: server or CLI killed with SIGKILL right after the last byte, then the next turn's
    request holds all that was answered."""
    home = tmp_path / "home"
    environment = clean_environment(home, api.url, CLAUDE_BIN=str(each_cli))
    session = str(uuid.uuid4())
    said: list[tuple[str, str]] = []
    server = Server(home, environment)
    for turn in range(turns):
        api.push(f"Answer {turn}.")
        response = say(server, session, f"Question {turn}.", stream=turn % 3 == 0)
        victims = server.claude_processes()
        if turn % 5 == 0:
            server.process.send_signal(signal.SIGKILL)
            server.stop()
            wait_until_gone(victims)
            server = Server(home, environment)
        else:
            for victim in victims:
                kill(victim)
        assert response.status_code == 200, response.text
        assert api.last.conversation == [*said, ("user", f"Question {turn}.")], f"turn {turn}"
        said += [("user", f"Question {turn}."), ("assistant", f"Answer {turn}.")]
    assert server.stop() == 0


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("session", ["", 5, "x" * 257, ["a"]])
def test_a_bad_session_id_is_refused(server: Server, api: StandIn, session: object) -> None:
    body = {"model": "sonnet", "messages": [{"role": "user", "content": "hi"}], "session_id": session}
    response = httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=PATIENCE)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "session_id"
    assert api.turns == []


def test_a_strange_session_id_is_only_a_name(server: Server, api: StandIn) -> None:
    for session in ("../../x", "--dangerously-skip-permissions", "a b\n\0", "-p"):
        assert say(server, session, "hi").status_code == 200
        assert say(server, session, "again").headers["x-claude-session"] == "resumed"


@pytest.mark.parametrize("limit", [7, 1024, 1025])
def test_a_small_limit_leaves_no_room_for_thinking(server: Server, api: StandIn, limit: int) -> None:
    """Older CLIs give some models a budget for it that is one below the limit; the API takes no less than
    1024."""
    body = {"model": "haiku", "messages": [{"role": "user", "content": "hi"}], "max_tokens": limit}
    assert httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=PATIENCE).status_code == 200
    assert api.last.body["max_tokens"] == limit
    assert ("thinking" in api.last.body) == (limit > 1024)
