"""`python -m lab.demo` from its start to its end, and what it is made of."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from claude_server.standin import StandIn
from claude_server.standin.log import ApiRequest
from lab import demo
from tests.support import BASE_PATH, PATIENCE, ROOT


def start(folder: Path) -> subprocess.Popen[str]:
    """`make demo`, with `folder` as home and for temporary files."""
    return subprocess.Popen(
        [sys.executable, "-m", "lab.demo"],
        cwd=ROOT,
        env={"PATH": BASE_PATH, "HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def left_over(folder: Path) -> list[str]:
    """Files in the folder, and processes that were told of it (by Linux's /proc)."""
    mark = str(folder).encode()
    found = [str(path) for path in folder.iterdir()]
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                if mark in (process / "environ").read_bytes():
                    found.append((process / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
    return found


def test_from_start_to_end(tmp_path: Path) -> None:
    with start(tmp_path) as process:
        try:
            out, errors = process.communicate(timeout=2 * PATIENCE)
        finally:
            process.kill()
    assert (process.returncode, errors) == (0, "")
    lines = out.splitlines()
    assert re.match(r"The real claude CLI \d+\.\d+\.\d+ runs here, with a stand-in", lines[0])
    assert "nothing leaves this machine" in lines[1] and "tries the CLI out" in lines[2]
    assert [line for line in lines if line.startswith("$ ")] == [f"$ python {name}" for name in demo.DEMOS]
    assert lines.count("Claude: Your name is Alice.") == 2
    assert "The capital of Kenya is Nairobi." in out and " times, as measured" in out
    assert len(re.findall(r"^ +\d +resumed ", out, re.MULTILINE)) == 3
    assert left_over(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (signal.SIGHUP, "the answers are made up"),
        pytest.param(signal.SIGTERM, "$ python parallel_client_demo.py", marks=pytest.mark.long),
        pytest.param(signal.SIGINT, "Claude: Nice to meet you", marks=pytest.mark.long),
    ],
    ids=["while the server starts", "while a demo starts", "in a demo"],
)
def test_it_ends_early(number: signal.Signals, line: str, tmp_path: Path) -> None:
    with start(tmp_path) as process:
        try:
            assert process.stdout is not None
            assert any(said.startswith(line) for said in process.stdout)
            process.send_signal(number)
            _, errors = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert (process.returncode, errors) == (130, "\nStopped.\n")
    assert left_over(tmp_path) == []


def test_a_demo_that_fails(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert demo.run_demo("session_demo.py", "http://127.0.0.1:1/v1") is False
    assert capfd.readouterr().err.startswith("No server answers at http://127.0.0.1:1/v1.")


def test_a_server_that_does_not_start(tmp_path: Path, claude_bin: Path) -> None:
    env = demo.environment(tmp_path, str(claude_bin), "http://127.0.0.1:1")
    bad = env | {"CLAUDE_MAX_CONCURRENCY": "none"}
    complaint = r"(?s)did not start.*CLAUDE_MAX_CONCURRENCY=none"
    with pytest.raises(demo.DemoError, match=complaint), demo.server(tmp_path, bad):
        pass


def test_a_failed_demo_shows_in_the_status(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "DEMOS", ("no_such_demo.py",))
    environment = demo.environment
    # A level that is chosen needs no trial of the CLI.
    chosen = {"CLAUDE_ENGINE": "spawn"}
    monkeypatch.setattr(demo, "environment", lambda *given: environment(*given) | chosen)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert demo.run() == 1
    assert "Not well: no_such_demo.py. The server's log:" in capfd.readouterr().err
    assert left_over(tmp_path) == []


def test_no_cli_anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(demo.DemoError, match=re.escape(demo.INSTALL)):
        demo.find_cli()
    (tmp_path / "claude").write_text("#!/bin/sh\n")
    (tmp_path / "claude").chmod(0o755)
    assert demo.find_cli() == str(tmp_path / "claude")


def test_a_cli_that_does_not_run(tmp_path: Path) -> None:
    with pytest.raises(demo.DemoError, match="doesn't run"):
        demo.version(str(tmp_path / "missing"), {})
    with pytest.raises(demo.DemoError, match="doesn't run"):
        demo.version("/bin/false", {})


TOLD = ("user", "My name is Bo, I'm an electrician, and I live in Oslo.")


@pytest.mark.parametrize(
    ("conversation", "expected"),
    [
        ([TOLD], "Nice to meet you, Bo. I'll remember that."),
        ([TOLD, ("assistant", "."), ("user", "What is my name?")], "Your name is Bo."),
        ([TOLD, ("assistant", "."), ("user", "What do I do for a living?")], "You are a electrician."),
        ([TOLD, ("assistant", "."), ("user", "Which city do I live in?")], "You live in Oslo."),
        ([("user", "What is my name?")], "You haven't told me yet."),
        ([("user", "Name the capital of Peru.")], "The capital of Peru is Lima."),
        ([("user", "hm")], "I'm only a stand-in for Claude, so all I can say is that you said: hm"),
        ([], "I'm only a stand-in for Claude, so all I can say is that you said: "),
    ],
)
def test_answers(conversation: list[tuple[str, str]], expected: str) -> None:
    assert demo.answer(conversation) == expected


def test_answers_come_slowly_enough_to_be_seen() -> None:
    body = {"messages": [{"role": "user", "content": "Name the capital of Peru."}]}
    reply = demo.respond(ApiRequest(1, 0.0, "POST", "/v1/messages", body=body))
    assert reply.delay > 0 and reply.first_delay > 0
    assert StandIn(responder=demo.respond).responder is demo.respond
