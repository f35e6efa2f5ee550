"""A CLI that misbehaves: each fault has its outcome, then nothing is held and the next turn works."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from standin import Silence, StandIn
from tests.support import PATIENCE, ROOT, Server, clean_environment, serving, wait_until_gone

NOWHERE = "http://127.0.0.1:9"
Serve = Callable[..., Server]


def write_fake(path: Path, mode: str, version: str = "2.1.330") -> None:
    """A `claude` at `path` that behaves as `mode` says. Replaced in one step, as an update would do it."""
    script = (
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        f"open({str(path.with_suffix('.started'))!r}, 'a').write('x')\n"
        f"from tests.fakes.fake_cli import main\nmain({mode!r}, {version!r})\n"
    )
    fresh = path.with_suffix(".new")
    fresh.write_text(script)
    fresh.chmod(0o755)
    fresh.replace(path)


@contextmanager
def serving_fake(tmp_path: Path, mode: str, **more: str) -> Iterator[tuple[Server, Path]]:
    fake = tmp_path / "claude"
    write_fake(fake, mode, more.pop("version", "2.1.330"))
    quick = {"CLAUDE_MAX_RETRIES": "1", "CLAUDE_BASE_BACKOFF": "0.01", "CLAUDE_BIN": str(fake)}
    quick["CLAUDE_ENGINE"] = "spawn"
    environment = clean_environment(tmp_path / "home", NOWHERE, **{**quick, **more})
    with serving(tmp_path / "home", environment) as server:
        yield server, fake


def chat(server: Server, stream: bool = False) -> httpx.Response:
    body = {"model": "x", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    return httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=PATIENCE)


def check_all_given_back(server: Server, fake: Path) -> None:
    """The invariants after every case."""
    assert server.health()["slots"]["running"] == 0
    assert server.health()["queue"]["waiting"] == 0
    write_fake(fake, "good")
    answer = chat(server)
    assert answer.json()["choices"][0]["message"]["content"] == "fine", answer.text


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "mode",
    [
        "some garbage",
        "exit 1 after a good result",
        "hangs after the result",
        "floods stderr",
        "a 40 MiB line",
        "unknown frames",
    ],
)
def test_faults_that_do_no_harm(tmp_path: Path, mode: str, stream: bool) -> None:
    with serving_fake(tmp_path, mode) as (server, fake):
        answer = chat(server, stream)
        assert answer.status_code == 200, answer.text
        assert "fine" in answer.text
        check_all_given_back(server, fake)


def test_a_question_of_the_cli_is_refused(tmp_path: Path) -> None:
    with serving_fake(tmp_path, "asks us something") as (server, _):
        assert chat(server).json()["choices"][0]["message"]["content"] == "error"


@pytest.mark.parametrize(
    ("mode", "status", "code"),
    [
        ("only garbage", 502, "cli_failed"),
        ("a frame with something else in it", 502, "cli_failed"),
        ("exit at once", 502, "cli_failed"),
        ("a 70 MiB line", 502, "cli_failed"),
        ("a frame out of shape", 502, "cli_failed"),
        ("silent", 504, "timeout"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_faults_before_the_first_token(
    tmp_path: Path, mode: str, status: int, code: str, stream: bool
) -> None:
    with serving_fake(tmp_path, mode, CLAUDE_FIRST_EVENT_TIMEOUT="1") as (server, fake):
        answer = chat(server, stream)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
        check_all_given_back(server, fake)


@pytest.mark.parametrize(
    ("mode", "code"),
    [
        ("crash mid-stream", "cli_failed"),
        ("holds stdout", "cli_failed"),
        ("stalls", "timeout"),
        ("ignores SIGTERM", "timeout"),
    ],
)
def test_faults_in_the_stream(tmp_path: Path, mode: str, code: str) -> None:
    """The 200 is out: an error event follows, and no end."""
    with serving_fake(tmp_path, mode, CLAUDE_IDLE_TIMEOUT="1") as (server, fake):
        answer = chat(server, stream=True)
        assert answer.status_code == 200
        lines = [line for line in answer.text.splitlines() if line.startswith("data: ")]
        assert "[DONE]" not in answer.text and '"finish_reason":"stop"' not in answer.text
        assert json.loads(lines[-1].removeprefix("data: "))["error"]["code"] == code
        check_all_given_back(server, fake)


def test_the_attempt_has_a_deadline_of_its_own(tmp_path: Path) -> None:
    with serving_fake(tmp_path, "stalls", CLAUDE_TIMEOUT="1", CLAUDE_MAX_RETRIES="0") as (server, fake):
        answer = chat(server)
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
        assert "CLAUDE_TIMEOUT" in answer.json()["error"]["message"]
        check_all_given_back(server, fake)


def test_more_requests_than_slots_and_queue(tmp_path: Path) -> None:
    """One runs, one waits, the third is refused at once; the waiting one gives up at its own time."""
    limits = {"CLAUDE_MAX_CONCURRENCY": "1", "CLAUDE_MAX_QUEUE": "1", "CLAUDE_QUEUE_TIMEOUT": "1"}
    with serving_fake(tmp_path, "stalls", CLAUDE_IDLE_TIMEOUT="30", **limits) as (server, fake):
        running = threading.Thread(target=_give_up_soon, args=(server,))
        running.start()
        _wait_for(server, "slots", "running", 1)
        waited: list[httpx.Response] = []
        waiting = threading.Thread(target=lambda: waited.append(chat(server)))
        waiting.start()
        _wait_for(server, "queue", "waiting", 1)
        refused = chat(server)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.headers["x-should-retry"] == "true"
        waiting.join()
        assert (waited[0].status_code, waited[0].json()["error"]["code"]) == (429, "queue_full")
        running.join()
        _wait_for(server, "slots", "running", 0)
        assert server.health()["queue"]["refused"] == 2
        check_all_given_back(server, fake)


def _give_up_soon(server: Server) -> None:
    body = {"model": "x", "messages": [{"role": "user", "content": "hi"}]}
    with pytest.raises(httpx.TimeoutException):
        httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=4)


def _wait_for(server: Server, part: str, name: str, value: int) -> None:
    """Ask /health until it says so: the server has no other way to tell."""
    for _ in range(2000):
        if server.health()[part][name] == value:
            return
    raise AssertionError(server.health())


def test_no_cli(tmp_path: Path) -> None:
    environment = clean_environment(tmp_path / "home", NOWHERE, CLAUDE_BIN="no-such-claude")
    with serving(tmp_path / "home", environment) as server:
        assert any("was not found" in line for line in server.output)
        health = httpx.get(f"{server.url}/health").json()
        assert health["status"] == "unhealthy" and "no-such-claude" in health["cli"]["problem"]
        answer = chat(server)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "cli_not_ready")
        assert "CLAUDE_BIN" in answer.json()["error"]["message"]
        assert answer.headers["x-should-retry"] == "false"


def test_a_broken_cli_makes_no_storm_of_starts(tmp_path: Path) -> None:
    """It is tried again after a pause, or when another one is there; until then every request is told."""
    with serving_fake(tmp_path, "exits at the start") as (server, fake):
        started = fake.with_suffix(".started")
        before = len(started.read_text())
        for _ in range(20):
            answer = chat(server)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "cli_not_ready")
            assert "it is broken" in answer.json()["error"]["message"]
        # A look takes two starts: for the version, and for the introduction.
        assert len(started.read_text()) - before <= 4
        health = httpx.get(f"{server.url}/health").json()
        assert health["status"] == "unhealthy" and "it is broken" in health["cli"]["problem"]
        write_fake(fake, "good")
        assert chat(server).status_code == 200
        assert httpx.get(f"{server.url}/health").json()["status"] == "healthy"


def test_a_cli_that_is_too_old(tmp_path: Path) -> None:
    with serving_fake(tmp_path, "good", version="2.0.77") as (server, _):
        answer = chat(server)
        assert answer.status_code == 503
        assert "2.0.77" in answer.text and "2.1.50" in answer.text


def test_not_logged_in_is_said_at_the_start(tmp_path: Path) -> None:
    with serving_fake(tmp_path, "logged out") as (server, _):
        assert any("not logged in" in line for line in server.output)
        assert any("claude auth login" in line for line in server.output)
        assert httpx.get(f"{server.url}/health").json()["cli"]["logged_in"] is False


def test_nothing_survives_the_server(claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    """SIGKILL while a turn runs: the CLI is gone within a second."""
    api.push(Silence(30))
    home = tmp_path / "home"
    server = Server(home, clean_environment(home, api.url, CLAUDE_BIN=str(claude_bin)))
    with httpx.Client() as client, pytest.raises(httpx.HTTPError):
        threading.Thread(target=_kill_at_first_turn, args=(api, server)).start()
        body = {"model": "x", "messages": [{"role": "user", "content": "hi"}]}
        client.post(f"{server.base_url}/chat/completions", json=body, timeout=PATIENCE)
    wait_until_gone(server.claude_processes(), 1.0)
    server.stop()


def _kill_at_first_turn(api: StandIn, server: Server) -> None:
    api.wait_for_turns(1, PATIENCE)
    server.process.send_signal(signal.SIGKILL)


def test_what_a_killed_server_left_is_swept(tmp_path: Path) -> None:
    """Where nothing kills the children along: a process with the mark of a dead server is killed at the next
    start, and its folder removed."""
    fake = tmp_path / "claude"
    write_fake(fake, "good")
    finished = subprocess.Popen(["true"])
    finished.wait()
    orphan = subprocess.Popen(
        ["sleep", "60"], env={"PATH": "/usr/bin:/bin", "CLAUDE_API_OWNER": str(finished.pid)}
    )
    left = tmp_path / "home" / "state" / "tmp" / str(finished.pid)
    left.mkdir(parents=True)
    environment = clean_environment(tmp_path / "home", NOWHERE, CLAUDE_BIN=str(fake), CLAUDE_ENGINE="spawn")
    with serving(tmp_path / "home", environment):
        assert orphan.wait(PATIENCE) == -signal.SIGKILL
        assert not left.exists()


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_with_a_sentence(tmp_path: Path, sign: signal.Signals) -> None:
    fake = tmp_path / "claude"
    write_fake(fake, "good")
    server = Server(
        tmp_path / "home",
        clean_environment(tmp_path / "home", NOWHERE, CLAUDE_BIN=str(fake), CLAUDE_ENGINE="spawn"),
    )
    assert server.stop(sign) == 0
    assert server.output[-1] == "claude-api has stopped."
    assert "Traceback" not in "\n".join(server.output)
