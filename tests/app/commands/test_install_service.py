"""`install-service`: what it writes, and that it takes nothing away."""

from __future__ import annotations

import plistlib
from pathlib import Path

import pytest

from claude_server.app import main as program
from claude_server.app.service_files import Service, launchd_agent, systemd_unit
from tests.support import ROOT

UNIT = Path(".config/systemd/user/claude-api.service")
ODD = Service(
    ['/a b/"py%h"thon', "-m", "claude_server"], [Path("/a b"), Path("/usr/bin")], Path("/"), Path("/h")
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    return tmp_path


def test_it_writes_a_unit_and_says_what_comes_next(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["install-service"]) == 0
    said = capsys.readouterr().out
    assert f"Written: {home / UNIT}" in said and "systemctl --user enable --now claude-api" in said
    assert f"WorkingDirectory={ROOT}" in (home / UNIT).read_text()
    assert program.main(["install-service"]) == 0


def test_print_writes_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["install-service", "--print"]) == 0
    assert "ExecStart=" in capsys.readouterr().out
    assert not (home / UNIT).exists()


def test_a_file_that_says_something_else_stays(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / UNIT).parent.mkdir(parents=True)
    (home / UNIT).write_text("mine")
    assert program.main(["install-service"]) == 2
    assert "--force replaces it" in capsys.readouterr().err
    assert (home / UNIT).read_text() == "mine"
    assert program.main(["install-service", "--force"]) == 0
    assert "ExecStart=" in (home / UNIT).read_text()


def test_a_folder_that_can_not_be_written(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / ".config").write_text("a file")
    assert program.main(["install-service"]) == 2
    assert "can't be written" in capsys.readouterr().err


def test_words_are_quoted_as_systemd_wants_it() -> None:
    assert 'ExecStart="/a b/\\"py%%h\\"thon" -m claude_server\n' in systemd_unit(ODD, Path("/h/x.env"))


def test_launchd(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    agent = plistlib.loads(launchd_agent(ODD).encode())
    assert (
        agent["ProgramArguments"] == list(ODD.command)
        and agent["EnvironmentVariables"]["PATH"] == "/a b:/usr/bin"
    )
    monkeypatch.setattr("sys.platform", "darwin")
    assert program.main(["install-service"]) == 0
    assert (home / "Library/LaunchAgents/claude-api.plist").exists()
    assert "never tried on a Mac" in capsys.readouterr().out
