"""Starting: what a person sees, which port is taken, which settings hold."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from claude_server.standin import StandIn
from tests.conftest import older_cli
from tests.support import PATIENCE, PROGRAM, ROOT, Server, clean_environment, serving


def run(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "claude_api.py"), *arguments],
        env={**clean_environment(home, "http://127.0.0.1:9"), **environment},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def test_the_start_says_what_there_is(server: Server) -> None:
    server.wait_for_line("^OpenAI clients")
    assert server.output[0].startswith("claude-api ")
    assert "2.1." in server.output[1] and "ANTHROPIC_API_KEY set, not checked" in server.output[1]
    assert server.base_url in server.output[2]


def test_version_and_help(tmp_path: Path) -> None:
    version = run(tmp_path, "--version")
    assert version.returncode == 0 and version.stdout.startswith("claude-api ")
    usage = run(tmp_path, "--help")
    assert usage.returncode == 0 and "CLAUDE_MAX_CONCURRENCY" in usage.stdout


def test_a_python_that_lacks_the_packages(tmp_path: Path) -> None:
    """Here without its site-packages."""
    command = [sys.executable, "-S", str(ROOT / "claude_api.py")]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert "is missing in this Python" in ended.stderr and "pip install -r" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        (("--port", "banana"), {}, "--port=banana"),
        ((), {"CLAUDE_MAX_CONCURRENCY": "0"}, "CLAUDE_MAX_CONCURRENCY=0"),
        ((), {"CLAUDE_STREAM_MODE": "fast"}, "CLAUDE_STREAM_MODE=fast"),
        (("--host", "0.0.0.0"), {}, "loopback"),
        ((), {"CLAUDE_STATE_DIR": "/dev/null/state"}, "Set CLAUDE_STATE_DIR (or --state-dir) to another"),
        ((), {"CLAUDE_STATE_DIR": "/proc"}, "state folder /proc can't be used: "),
        (
            (),
            {"LOG_FILE": "/dev/null/log"},
            "Name another file, or unset it",
        ),
        (("--host", "example.com"), {}, "--host=example.com: an address is needed"),
        (("--reload", "--host", "::"), {}, "loopback"),
    ],
)
def test_a_wrong_value_stops_the_start_with_a_sentence(
    tmp_path: Path, arguments: tuple[str, ...], environment: dict[str, str], says: str
) -> None:
    result = run(tmp_path, *arguments, **environment)
    assert result.returncode == 2
    assert says in result.stderr and "Traceback" not in result.stderr


def test_sessions_that_cannot_be_read(tmp_path: Path) -> None:
    """What isn't a database is moved aside; what can't be opened, or is a newer server's, stops the start."""
    state = tmp_path / "state"
    records = state / "sessions.sqlite3"
    records.mkdir(parents=True)
    refused = run(tmp_path, "--host", "192.0.2.1", CLAUDE_STATE_DIR=str(state), API_KEY="k")
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert f"The state folder {state} can't be used: the session records can't be opened" in refused.stderr
    records.rmdir()
    records.write_bytes(b"not a database" * 100)
    aside = run(tmp_path, "--host", "192.0.2.1", CLAUDE_STATE_DIR=str(state), API_KEY="k")
    assert "they are kept as" in aside.stdout and "Can't listen on 192.0.2.1" in aside.stderr
    assert len(list(state.glob("sessions.corrupt-*"))) == 1


def test_a_taken_port(claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    """Pinned: refused. Not pinned (PORT): the next free one, and a line says so."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for arguments in (("--port", port), (port,)):
            refused = run(tmp_path, *arguments)
            assert refused.returncode == 2 and f"Port {port} is taken" in refused.stderr
        environment = clean_environment(tmp_path / "home", api.url, CLAUDE_BIN=str(claude_bin), PORT=port)
        server = Server(tmp_path / "home", environment, "--log-level", "info", command=PROGRAM)
        try:
            assert any(f"Port {port} is taken" in line for line in server.output)
            assert httpx.get(f"{server.url}/health").status_code == 200
        finally:
            assert server.stop() == 0


def test_dotenv_and_two_names(claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".env").write_text("CLAUDE_MAX_CONCURRENCY=3\nMAX_TIMEOUT=9000\nLOG_FORMAT=json\n")
    environment = clean_environment(home, api.url, CLAUDE_BIN=str(claude_bin), CLAUDE_TIMEOUT="8")
    with serving(home, environment) as server:
        assert server.health()["slots"]["capacity"] == 3
        body = {"messages": [{"role": "user", "content": "hi"}]}
        assert (
            httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=PATIENCE).status_code == 200
        )
        assert server.wait_for_line(r'^\{.*"outcome": "ok"')
    # The environment comes before .env, whatever the name.
    assert not any("MAX_TIMEOUT" in line for line in server.output)


def test_the_default_model_and_the_log_file(claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    home = tmp_path / "home"
    log = tmp_path / "logs" / "server.log"
    environment = clean_environment(
        home, api.url, CLAUDE_BIN=str(claude_bin), DEFAULT_MODEL="haiku", LOG_FILE=str(log)
    )
    with serving(home, environment) as server:
        body = {"model": "default", "messages": [{"role": "user", "content": "hi"}]}
        httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=PATIENCE)
        assert "haiku" in api.last.model
        ids = [m["id"] for m in httpx.get(f"{server.base_url}/models").json()["data"]]
        assert ids[0] == "default"
    assert "outcome=ok" in log.read_text()


def test_uvicorn_by_hand(claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    """`uvicorn --factory claude_api:create_app` works as well, and says what doesn't hold there."""
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "--factory", "claude_api:create_app", "--port", "0"],
        env=clean_environment(tmp_path, api.url, CLAUDE_BIN=str(claude_bin)),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            if "running on" in line:
                break
        assert any("headers have no limit" in each for each in said), said
        url = line.split("running on ")[1].split()[0]
        assert httpx.get(f"{url}/health").json()["cli"]["logged_in"] is True
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


@pytest.mark.parametrize("level", ["text", "spawn"])
def test_the_engine_can_be_forced(claude_bin: Path, api: StandIn, tmp_path: Path, level: str) -> None:
    environment = clean_environment(
        tmp_path / "home", api.url, CLAUDE_BIN=str(claude_bin), CLAUDE_ENGINE=level
    )
    with serving(tmp_path / "home", environment) as server:
        answer = server.client().chat.completions.create(
            model="sonnet",
            messages=[
                {"role": "user", "content": "one"},
                {"role": "assistant", "content": "two"},
                {"role": "user", "content": "/three"},
            ],
        )
    assert (answer.model_extra or {})["x_claude"]["engine"] == level
    said = api.last.conversation
    if level == "text":
        assert said == [("user", "User: one\n\nAssistant: two\n\nUser: /three\n\nAssistant:")]
    else:
        assert said == [("user", "one"), ("assistant", "two"), ("user", " /three")]


@pytest.mark.parametrize("version", [pytest.param("2.1.50", marks=pytest.mark.long), "2.1.90"])
def test_clis_that_cannot_inject_get_text(version: str, api: StandIn, tmp_path: Path) -> None:
    """The oldest that is served, and the last that ignores injected messages; no file is read by either."""
    binary = older_cli(version)
    environment = clean_environment(tmp_path / "home", api.url, CLAUDE_BIN=str(binary))
    with serving(tmp_path / "home", environment) as server:
        assert httpx.get(f"{server.url}/health").json()["cli"]["version"] == version
        answer = server.client().chat.completions.create(
            model="sonnet",
            messages=[
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "one"},
                {"role": "assistant", "content": "two"},
                {"role": "user", "content": "@/etc/passwd"},
            ],
        )
    assert answer.choices[0].message.content
    (sent,) = api.turns
    assert sent.last_user_text == "User: one\n\nAssistant: two\n\nUser: @/etc/passwd\n\nAssistant:"
    assert b"root:" not in sent.raw
    assert sent.system_texts[-1] == "Be brief."


def test_the_doctor(claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    """What the server would find, without a server; the self-test is run here for once."""
    environment = clean_environment(tmp_path, api.url, CLAUDE_BIN=str(claude_bin), CLAUDE_ENGINE="spawn")
    del environment["CLAUDE_ENGINE"]
    command = [sys.executable, str(ROOT / "claude_api.py"), "doctor"]
    found = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "engine: warm" in found.stdout and "yes set_system" in found.stdout
    assert (tmp_path / "state" / "abilities.json").stat().st_mode & 0o777 == 0o600
    assert api.turns == []
    broken = run(tmp_path, "doctor", CLAUDE_BIN="no-such-claude")
    assert broken.returncode == 1 and "was not found" in broken.stdout


@pytest.mark.parametrize(
    ("login", "says"),
    [
        ({}, "not logged in"),
        ({"subscriptionType": "max"}, "claude.ai Claude Max"),
    ],
)
def test_a_login_is_seen(
    claude_bin: Path, api: StandIn, tmp_path: Path, login: dict[str, str], says: str
) -> None:
    """A subscription's made-up login, and none: said at the start, and by the turn."""
    home = tmp_path / "home"
    environment = clean_environment(home, api.url, CLAUDE_BIN=str(claude_bin))
    del environment["ANTHROPIC_API_KEY"]
    (home / ".claude").mkdir()
    if login:
        token = {"accessToken": "sk-ant-oat01-made-up", "refreshToken": "sk-ant-ort01-made-up", **login}
        oauth = {**token, "expiresAt": 4_000_000_000_000, "scopes": ["user:inference", "user:profile"]}
        (home / ".claude" / ".credentials.json").write_text(json.dumps({"claudeAiOauth": oauth}))
    with serving(home, environment) as server:
        assert any(says in line for line in server.output)
        body = {"messages": [{"role": "user", "content": "hi"}]}
        answer = httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=PATIENCE)
        assert answer.status_code == (200 if login else 503)
        assert login or "claude auth login" in answer.json()["error"]["message"]
        assert server.health()["cli"]["logged_in"] is bool(login)
