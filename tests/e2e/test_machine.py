"""A machine that fails the server: no home, a full disk, a broken configuration, another binary."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from claude_server.standin import ApiError, StandIn
from tests.e2e.faulty import chat, readiness, serving_fake, write_fake
from tests.fakes.fake_cli import ASKED
from tests.invariants import Invariants, eventually
from tests.support import PATIENCE, Server, clean_environment, serving


def say(server: Server, text: str, session: str | None = None) -> httpx.Response:
    body: dict[str, Any] = {"model": "sonnet", "messages": [{"role": "user", "content": text}]}
    if session is not None:
        body["session_id"] = session
    return httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=PATIENCE)


def notices(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return " ".join(answer.json()["x_claude"]["notices"])


@contextmanager
def limited(server: Server, kind: int, limit: int) -> Iterator[None]:
    """The server has less of something for a while."""
    before = resource.prlimit(server.process.pid, kind)
    resource.prlimit(server.process.pid, kind, (limit, before[1]))
    try:
        yield
    finally:
        resource.prlimit(server.process.pid, kind, before)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_no_descriptors_left_for_a_process(tmp_path: Path, stream: bool) -> None:
    with serving_fake(tmp_path, "good") as (server, _):
        chat(server, stream=stream)
        invariants = Invariants(server)
        used = {int(fd.name) for fd in Path(f"/proc/{server.process.pid}/fd").iterdir()}
        free = [number for number in range(max(used) + 9) if number not in used]
        # Enough for a connection or two, and not for the pipes of a process.
        with limited(server, resource.RLIMIT_NOFILE, free[3]):
            # Those that are up serve on.
            first, *_, refused = [chat(server, stream=stream) for _ in range(4)]
            assert first.status_code == 200
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.headers["x-should-retry"] == "true"
        # After a failed start comes a pause.
        eventually(lambda: chat(server, stream=stream).status_code, 200)
        invariants.check()


def test_a_disk_that_takes_nothing(tmp_path: Path) -> None:
    """A turn is answered; a session that can't be recorded is refused, not promised."""
    with serving_fake(tmp_path, "good") as (server, _):
        assert say(server, "hi").status_code == 200
        invariants = Invariants(server)
        with limited(server, resource.RLIMIT_FSIZE, 0):
            assert say(server, "hi").status_code == 200
            refused = say(server, "hi", "a session")
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "state_failed")
            assert "x-claude-session" not in refused.headers
        assert say(server, "hi", "a session").headers["x-claude-session"] == "created"
        invariants.check()


def test_a_home_that_takes_nothing(claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    """Turns are answered. What the CLI can't keep is said, and found lost after the process."""
    home = tmp_path / "home"
    environment = clean_environment(home, api.url, CLAUDE_BIN=str(claude_bin)) | {"HOME": "/proc/no-home"}
    with serving(home, environment) as server:
        assert notices(say(server, "hi")) == ""
        first = say(server, "hi", "a session")
        assert first.headers["x-claude-session"] == "created" and "may be lost" in notices(first)
        # The process still knows it.
        second = say(server, "hi again", "a session")
        assert second.headers["x-claude-session"] == "resumed" and "may be lost" in notices(second)
    with serving(home, environment) as server:
        assert say(server, "and again", "a session").headers["x-claude-session"] == "recreated"
        assert api.last.conversation == [("user", "and again")]


def test_a_session_that_is_kept_says_nothing(server: Server, api: StandIn) -> None:
    assert notices(say(server, "hi", "kept")) == notices(say(server, "hi", "kept")) == ""


def test_a_corrupt_configuration_of_the_cli(claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    """Said at the start and by every request; whoever mends it is noticed, by /readyz alone."""
    home = tmp_path / "home"
    environment = clean_environment(home, api.url, CLAUDE_BIN=str(claude_bin))
    (home / ".claude.json").write_text('{"half": ')
    with serving(home, environment) as server:
        assert any(".claude.json" in line for line in server.output)
        assert readiness(server) == (503, "unready")
        answer = say(server, "hi")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "cli_not_ready")
        assert ".claude.json" in answer.json()["error"]["message"]
        (home / ".claude.json").unlink()
        eventually(lambda: readiness(server), (200, "ready"))
        assert say(server, "hi").status_code == 200


def test_a_binary_that_goes_and_comes(tmp_path: Path) -> None:
    """Nothing is asked of the server meanwhile but whether it is ready."""
    with serving_fake(tmp_path, "good") as (server, fake):
        assert chat(server).status_code == 200
        fake.unlink()
        gone = chat(server)
        assert (gone.status_code, gone.json()["error"]["code"]) == (503, "cli_not_ready")
        assert readiness(server) == (503, "unready")
        write_fake(fake, "good", version="2.1.331")
        eventually(lambda: readiness(server), (200, "ready"))
        assert server.health()["cli"]["version"] == "2.1.331"
        assert chat(server).status_code == 200
        Invariants(server).check()


def test_what_is_written_is_for_its_owner_alone(claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    home = tmp_path / "home"
    log = tmp_path / "logs" / "server.log"
    more = {"CLAUDE_BIN": str(claude_bin), "CLAUDE_ENGINE": "plain", "LOG_FILE": str(log)}
    environment = clean_environment(home, api.url, **more)
    before = os.umask(0)
    try:
        server = Server(home, environment)
    finally:
        os.umask(before)
    try:
        assert say(server, "hi", "a session").status_code == 200
        written = {path: path.stat().st_mode & 0o777 for path in (home / "state").rglob("*")}
        assert {"sessions.sqlite3", "work", "tmp"} <= {path.name for path in written}
        for path in (home / "state", log.parent, log):
            written[path] = path.stat().st_mode & 0o777
        assert {path: mode for path, mode in written.items() if mode & 0o077} == {}
    finally:
        assert server.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is warned")
def test_root_is_warned(server: Server) -> None:
    server.wait_for_line("running as root")


def test_a_key_that_the_cli_tells_goes_no_further(tmp_path: Path) -> None:
    """Neither to the client nor to the log."""
    with serving_fake(tmp_path, ASKED) as (server, _):
        answer = chat(server, "tells a key")
        assert answer.status_code == 502
        assert "Authorization: Bearer ***" in answer.json()["error"]["message"]
        assert "sk-ant-made-up" not in answer.text + "".join(server.output)


def test_the_key_that_was_passed_on_goes_no_further_whatever_its_form(
    claude_bin: Path, api: StandIn, tmp_path: Path
) -> None:
    """Nothing in it says that it is one."""
    given = {"CLAUDE_BIN": str(claude_bin), "ANTHROPIC_API_KEY": "correct-horse-battery"}
    api.push(ApiError(400, message="The header x was correct-horse-battery, which is wrong."))
    with serving(tmp_path, clean_environment(tmp_path, api.url, **given)) as server:
        answer = chat(server, "hi")
    assert answer.status_code == 400
    assert "The header x was ***, which is wrong." in answer.json()["error"]["message"]
    assert "correct-horse" not in answer.text + "".join(server.output)
