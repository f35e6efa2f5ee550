"""How sessions end, over the real CLI: deleted, expired, and by another server on the same state."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from claude_server.standin import ApiError, Reply, StandIn
from tests.e2e.test_sessions import say, text
from tests.support import PATIENCE, Server, clean_environment, serving, wait_until_gone


@pytest.fixture(scope="module")
def server(each_cli: Path, shared_api: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Server:  # type: ignore[misc]
    """A server with each CLI version."""
    home = tmp_path_factory.mktemp("home")
    environment = clean_environment(home, shared_api.url, CLAUDE_BIN=str(each_cli), CLAUDE_MAX_RETRIES="0")
    with serving(home, environment) as running:
        yield running


def sessions(server: Server, path: str = "", method: str = "GET") -> Any:
    answer = httpx.request(method, f"{server.base_url}/sessions{path}", timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    return answer.json()


def left_of(home: Path, name: str) -> list[Path]:
    """What the CLI still keeps under a session's name."""
    return [path for path in (home / ".claude").rglob(f"*{name}*") if path.name != f"{name}.json"]


def test_what_is_deleted_is_gone(server: Server, api: StandIn) -> None:
    """Its process, its transcripts, one that was set aside too, and its place in the list."""
    session = str(uuid.uuid4())
    api.push(ApiError(400), "One.", "Two.")
    # What a failed first turn leaves is set aside by the next one.
    assert say(server, session, "SECRET fails").status_code == 400
    say(server, session, "old", "older", "SECRET one.")
    say(server, session, "SECRET two.")
    assert {path.suffix for path in left_of(server.home, session)} >= {".jsonl", ".old"}
    (listed,) = [s for s in sessions(server)["sessions"] if s["session_id"] == session]
    # What the next request would hold: two that came along, two questions, two answers.
    assert (listed["message_count"], listed["turns"]) == (6, 2) and listed["cost_usd"] > 0
    holding = server.claude_processes()

    deleted = sessions(server, f"/{session}", "DELETE")
    assert deleted == {"message": f"Session {session} deleted successfully"}
    assert len(server.claude_processes()) < len(holding)
    assert left_of(server.home, session) == []
    assert not any(
        b"SECRET" in path.read_bytes() for path in (server.home / ".claude").rglob("*") if path.is_file()
    )
    assert httpx.get(f"{server.base_url}/sessions/{session}").status_code == 404
    again = say(server, session, "Anew.")
    assert again.headers["x-claude-session"] == "created"
    assert api.last.conversation == [("user", "Anew.")]


def test_any_name_over_the_wire(server: Server, api: StandIn) -> None:
    for session in ("my/notes", "é ☃ 100%", "a?b#c"):
        say(server, session, "hi")
        path = "/" + quote(session, safe="/")
        assert sessions(server, path)["session_id"] == session
        sessions(server, path, "DELETE")
        assert say(server, session, "hi").headers["x-claude-session"] == "created"


def test_a_running_turn_ends_before_its_session_does(server: Server, api: StandIn) -> None:
    session = f"running {uuid.uuid4()}"
    api.push(Reply.of("done", first_delay=1.0))
    with ThreadPoolExecutor(1) as pool:
        turn = pool.submit(say, server, session, "slow")
        assert api.wait_for_turns(1)
        sessions(server, f"/{quote(session)}", "DELETE")
        assert text(turn.result()) == "done"
    assert session not in [s["session_id"] for s in sessions(server)["sessions"]]


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_expiry_ends_the_process_and_the_listing_only(claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    home = tmp_path / "home"
    environment = clean_environment(home, api.url, CLAUDE_BIN=str(claude_bin), SESSION_TTL="2")
    api.push("One.", "Two.")
    with serving(home, environment) as server:
        free = set(server.claude_processes())
        say(server, "short", "Say one.")
        (kept,) = set(server.claude_processes()) - free
        assert [s["session_id"] for s in sessions(server)["sessions"]] == ["short"]
        wait_for(lambda: sessions(server)["total"] == 0)
        wait_until_gone([kept], PATIENCE)
        assert sessions(server, "/stats")["session_stats"]["expired_sessions"] == 1
        assert say(server, "short", "Say two.").headers["x-claude-session"] == "resumed"
        assert len(api.last.conversation) == 3
        (listed,) = sessions(server)["sessions"]
        assert (listed["message_count"], listed["turns"]) == (4, 2)


def test_two_servers_on_one_state(claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    """What one of them knows the other knows; what one deletes the other forgets, its process too."""
    home = tmp_path / "home"
    environment = clean_environment(home, api.url, CLAUDE_BIN=str(claude_bin), SESSION_TTL="3000")
    with serving(home, environment) as second:
        with serving(home, environment) as first:
            say(first, "shared", "Say one.")
            say(first, "kept", "Say one.")
            assert sessions(second)["total"] == 2
            assert sessions(second, "/shared", "DELETE")
            # The first one still has a process that holds it.
            assert say(first, "shared", "Anew.").headers["x-claude-session"] == "created"
            assert api.last.conversation == [("user", "Anew.")]

            api.push(Reply.of("done", first_delay=1.0))
            with ThreadPoolExecutor(1) as pool:
                turn = pool.submit(say, first, "shared", "slow")
                assert api.wait_for_turns(4)
                sessions(second, "/shared", "DELETE")
                assert text(turn.result()) == "done"
        # They outlive the server that made them.
        assert [s["session_id"] for s in sessions(second)["sessions"]] == ["kept"]
        assert say(second, "kept", "Say two.").headers["x-claude-session"] == "resumed"
