"""A CLI that misbehaves: each fault has its outcome, then nothing is held and the next turn works."""

from __future__ import annotations

import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from claude_server.standin import Silence, StandIn
from tests.e2e.faulty import (
    NOWHERE,
    Call,
    body,
    chat,
    failure,
    running,
    serving_fake,
    write_fake,
)
from tests.fakes.fake_cli import ASKED
from tests.invariants import Invariants, eventually
from tests.support import PATIENCE, Server, clean_environment, serving, wait_until_gone

STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Invariants]]:
    """One server for many cases."""
    with serving_fake(tmp_path_factory.mktemp("faulty"), ASKED) as (server, _):
        chat(server, "good")
        yield server, Invariants(server)


@pytest.fixture
def server(faulty: tuple[Server, Invariants]) -> Iterator[Server]:
    """The shared server. What must hold after each case is checked, and that the next request is served."""
    running, invariants = faulty
    yield running
    invariants.check()
    after = Call(running, "good")
    assert after.answer == f"fine{after.word}"
    invariants.check()


@pytest.fixture(scope="module")
def short_of_time(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Invariants]]:
    short = {"CLAUDE_FIRST_EVENT_TIMEOUT": "2", "CLAUDE_IDLE_TIMEOUT": "1", "CLAUDE_MAX_RETRIES": "0"}
    with serving_fake(tmp_path_factory.mktemp("hasty"), ASKED, **short) as (server, _):
        eventually(lambda: chat(server, "good").status_code, 200)
        yield server, Invariants(server)


@pytest.fixture
def hasty(short_of_time: tuple[Server, Invariants]) -> Iterator[Server]:
    """A server with short deadlines. On a slow machine a good turn may need a second try."""
    running, invariants = short_of_time
    yield running
    invariants.check()
    eventually(lambda: chat(running, "good").status_code, 200)
    invariants.check()


# What the CLI does


@STREAMED
@pytest.mark.parametrize(
    "mode",
    [
        "some garbage",
        "exit 1 after a good result",
        "hangs after the result",
        "floods stderr",
        "unknown frames",
        "exit once",
    ],
)
def test_faults_that_do_no_harm(server: Server, mode: str, stream: bool) -> None:
    call = Call(server, mode, stream)
    assert call.answer == f"fine{call.word}"


@STREAMED
def test_a_line_may_be_long(patient: Server, stream: bool) -> None:
    call = Call(patient, "a 40 MiB line", stream)
    assert call.answer == f"fine{call.word}"


def test_a_line_may_not_be_longer_than_memory_allows(patient: Server) -> None:
    call = Call(patient, "a 70 MiB line", stream=False)
    assert (call.error["code"], call.status) == ("cli_failed", 502)


def test_a_question_of_the_cli_is_refused(server: Server) -> None:
    call = Call(server, "asks us something")
    assert call.answer == f"error{call.word}"


@STREAMED
@pytest.mark.parametrize(
    ("mode", "status", "code"),
    [
        ("only garbage", 502, "cli_failed"),
        ("exit at once", 502, "cli_failed"),
        ("a frame out of shape", 502, "cli_failed"),
    ],
)
def test_faults_before_the_first_token(
    server: Server, mode: str, status: int, code: str, stream: bool
) -> None:
    call = Call(server, mode, stream)
    assert (call.error["code"], call.status) == (code, status)
    assert call.headers["x-should-retry"] == "true"


@pytest.mark.parametrize(
    ("mode", "code"),
    [
        ("crash mid-stream", "cli_failed"),
        ("holds stdout", "cli_failed"),
    ],
)
def test_faults_in_the_stream(server: Server, mode: str, code: str) -> None:
    """The 200 is out: an error event follows, and no end."""
    call = Call(server, mode)
    assert (call.error["code"], call.status) == (code, 200)


@STREAMED
def test_silence(hasty: Server, stream: bool) -> None:
    call = Call(hasty, "silent", stream)
    assert (call.error["code"], call.status) == ("timeout", 504)
    assert call.headers["x-should-retry"] == "true"


@pytest.mark.parametrize("mode", ["stalls", "ignores SIGTERM"])
def test_silence_in_the_stream(hasty: Server, mode: str) -> None:
    call = Call(hasty, mode)
    assert call.error["code"] == "timeout"


def test_many_faults_at_once(server: Server) -> None:
    """No answer has a word of another's."""
    modes = ["good", "crash mid-stream", "some garbage", "exit at once", "good", "exit once"]
    calls = [Call(server, mode) for mode in modes]
    for mode, call in zip(modes, calls, strict=True):
        if mode in ("good", "some garbage", "exit once"):
            assert call.answer == f"fine{call.word}"
        else:
            assert call.error["code"] == "cli_failed"
        assert not any(other.word in call.text for other in calls if other is not call)


def test_the_attempt_has_a_deadline_of_its_own(tmp_path: Path) -> None:
    with serving_fake(tmp_path, "stalls", CLAUDE_TIMEOUT="1", CLAUDE_MAX_RETRIES="0") as (server, _):
        answer = chat(server)
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
        assert "CLAUDE_TIMEOUT" in answer.json()["error"]["message"]


# What the client does


class Leaver:
    """A client that sends a request and hangs up."""

    def __init__(self, server: Server, question: str, stream: bool) -> None:
        port = int(server.url.rpartition(":")[2])
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.settimeout(PATIENCE)
        request = httpx.Request("POST", server.base_url, json=body(question, stream))
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        length = b"Content-Length: %d\r\n\r\n" % len(request.content)
        self._socket.sendall(head + length + request.content)

    def gets(self, word: bytes) -> None:
        """Wait until this has come."""
        seen = b""
        while word not in seen:
            seen += self._socket.recv(4096)

    def __enter__(self) -> Leaver:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()


@pytest.mark.parametrize(
    ("mode", "stream"),
    [("stalls with a child", True), ("silent", True), ("stalls with a child", False)],
    ids=["mid-stream", "before the first token", "whole answer"],
)
def test_a_client_that_leaves_ends_its_turn(patient: Server, mode: str, stream: bool) -> None:
    """The process of the turn and what it started are gone."""
    word = f"left-{mode}-{stream}".replace(" ", "-")
    with Leaver(patient, f"{mode}#{word}", stream) as leaver:
        eventually(lambda: word in asked(patient), True)
        turn = asked(patient)[word]
        if stream and mode != "silent":
            leaver.gets(b"half of")
        eventually(lambda: len(children(turn)), 1 if mode != "silent" else 0)
        processes = [turn, *children(turn)]
    wait_until_gone(processes, PATIENCE)
    eventually(lambda: patient.health()["slots"]["running"], 0)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def asked(server: Server) -> dict[str, int]:
    """The words that reached a CLI, and the processes that they reached."""
    told = server.home / "asked"
    lines = told.read_text().splitlines() if told.exists() else []
    return {word: int(pid) for word, _, pid in (line.rpartition(" ") for line in lines)}


@pytest.fixture(scope="module")
def one_slot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Invariants]]:
    limits = {"CLAUDE_MAX_CONCURRENCY": "1", "CLAUDE_MAX_QUEUE": "2", "CLAUDE_QUEUE_TIMEOUT": "2"}
    with serving_fake(tmp_path_factory.mktemp("patient"), ASKED, **limits) as (server, _):
        chat(server, "good")
        yield server, Invariants(server)


@pytest.fixture
def patient(one_slot: tuple[Server, Invariants]) -> Iterator[Server]:
    """A server with one slot, two places to wait, and long deadlines for the CLI."""
    running, invariants = one_slot
    yield running
    invariants.check()
    after = Call(running, "good")
    assert after.answer == f"fine{after.word}"
    invariants.check()


def test_a_client_that_leaves_the_queue_starts_nothing(patient: Server) -> None:
    with Leaver(patient, "silent#first", False):
        running(patient, 1)
        with Leaver(patient, "good#second", True):
            running(patient, 1, waiting=1)
        running(patient, 1)
    running(patient, 0)
    assert "first" in asked(patient) and "second" not in asked(patient)


def test_more_requests_than_slots_and_queue(patient: Server) -> None:
    """One runs, two wait, the others are refused at once; those who wait give up at their time."""
    before = int(str(patient.health()["queue"]["refused"]))
    with Leaver(patient, "silent", False):
        running(patient, 1)
        waiting = [Call(patient, "good", stream) for stream in (False, True)]
        running(patient, 1, waiting=2)
        refused = [Call(patient, "good", stream) for stream in (False, True)]
        for call in (*refused, *waiting):
            assert (call.error["code"], call.status) == ("queue_full", 429)
            assert int(call.headers["retry-after"]) >= 1 and call.headers["x-should-retry"] == "true"
        assert not {call.word for call in (*refused, *waiting)} & set(asked(patient))
    running(patient, 0)
    assert patient.health()["queue"]["refused"] == before + 4


def test_a_client_that_reads_slowly(patient: Server) -> None:
    """A CLI that writes without an end is made to wait: its answer is not kept in memory."""
    before = memory(patient)
    with Leaver(patient, "floods#slow", True) as slow:
        slow.gets(b"xxx")
        writer = asked(patient)["slow"]
        eventually(lambda: still(writer), True)
        assert written(writer) < 32 << 20 and memory(patient) - before < 64 << 20
    wait_until_gone([writer])


def written(pid: int) -> int:
    """Bytes that a process has written."""
    return int(Path(f"/proc/{pid}/io").read_text().split("wchar: ")[1].split()[0])


def still(pid: int) -> bool:
    """Has it written nothing for a while?"""
    before = written(pid)
    time.sleep(0.3)
    return written(pid) == before


def memory(server: Server) -> int:
    """Its resident bytes."""
    pages = Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


# What is installed


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
        before, begun = len(started.read_text()), time.monotonic()
        for _ in range(20):
            answer = chat(server)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "cli_not_ready")
            assert "it is broken" in answer.json()["error"]["message"]
        # Two looks, and on a slow machine as many more as doubled pauses have gone by meanwhile. A look takes
        # two starts: for the version, and for the introduction.
        pauses = (0.5 * (2**n - 1) for n in range(2, 20))
        looks = 2 + sum(pause <= time.monotonic() - begun for pause in pauses)
        assert len(started.read_text()) - before <= 2 * looks
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


@pytest.mark.parametrize(
    ("mode", "status", "code", "shown"),
    [
        ("login expired", 503, "cli_not_ready", "auth login`"),
        ("limit reached", 429, "rate_limit_exceeded", "You've hit your limit"),
    ],
)
def test_what_the_cli_says_by_itself_is_told_at_once(
    tmp_path: Path, mode: str, status: int, code: str, shown: str
) -> None:
    """Without a status of the API's; no second process is asked."""
    with serving_fake(tmp_path, "as asked", CLAUDE_MAX_RETRIES="5", CLAUDE_BASE_BACKOFF="20") as (server, _):
        answer = chat(server, f"{mode}#once")
        error = failure(answer.status_code, answer.text)
        assert (answer.status_code, error["code"], answer.headers["x-should-retry"]) == (
            status,
            code,
            "false",
        )
        assert shown in error["message"]
        assert httpx.get(f"{server.url}/health").json()["cli"]["problem"] == error["message"]
        assert (tmp_path / "home" / "asked").read_text().count("once") == 1


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
