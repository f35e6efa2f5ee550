"""The systemd units: systemd can read them, and what they start serves and ends as they say."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from claude_server.app.service_files import Service, systemd_unit
from claude_server.standin import StandIn
from tests.readme import document
from tests.support import PATIENCE, ROOT, Server, clean_environment, wait_until_gone

SYSTEM_UNIT = ROOT / "deploy" / "systemd" / "claude-api.service"
# Where the unit for a machine wants the source; it is put elsewhere here.
INSTALLED = "/opt/claude-api"

Unit = dict[str, list[str]]


@pytest.fixture(params=["system", "user"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def unit(kind: str, tmp_path: Path) -> Path:
    """That for a machine, and the one that `install-service` writes for a person: they find the source, and
    this Python with its packages, where they look for them."""
    place = tmp_path / "claude-api"
    place.mkdir()
    (place / ".venv").symlink_to(sys.prefix)
    (place / "claude_api.py").symlink_to(ROOT / "claude_api.py")
    if kind == "user":
        path = [Path(sys.executable).parent, Path("/usr/bin"), Path("/bin")]
        service = Service([sys.executable, "claude_api.py"], path, place, tmp_path)
        text = systemd_unit(service, tmp_path / "claude-api.env")
    else:
        text = SYSTEM_UNIT.read_text()
        assert INSTALLED in text
        text = text.replace(INSTALLED, str(place)).replace("/var/lib/claude-api", str(tmp_path / "state"))
    file = tmp_path / "claude-api.service"
    file.write_text(text)
    return file


def read(file: Path) -> Unit:
    """The settings of a unit; each may be there more than once."""
    found: Unit = {}
    for line in file.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def test_systemd_can_read_it(unit: Path, kind: str, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd here")
    # No manager runs for the user of the tests: a folder is all that it would have.
    environment = {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)}
    command = [analyze, "verify", "--man=no", f"--{kind}", str(unit)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_what_it_starts(unit: Path, api: StandIn, claude_bin: Path, tmp_path: Path) -> None:
    """A turn is served; SIGTERM, as systemd sends it, ends all with status 0."""
    settings = read(unit)
    given = dict(value.split("=", 1) for value in settings["Environment"])
    home = Path(given.get("HOME", tmp_path / "home"))
    environment = clean_environment(home, api.url, CLAUDE_BIN=str(claude_bin))
    environment |= {**given, "CLAUDE_STATE_DIR": str(home / "state"), "CLAUDE_API_PORT": "0"}
    (folder,) = settings["WorkingDirectory"]
    server = Server(home, environment, command=shlex.split(settings["ExecStart"][0]), folder=Path(folder))
    try:
        message = {"role": "user", "content": "hi"}
        answer = server.client().chat.completions.create(model="default", messages=[message])  # type: ignore[list-item]
        assert answer.choices[0].message.content
        family = server.claude_processes()
    finally:
        assert server.stop(signal.SIGTERM) == 0
    wait_until_gone(family)


def test_a_setting_that_cannot_be_used_is_not_tried_again(unit: Path, tmp_path: Path) -> None:
    settings = read(unit)
    environment = clean_environment(tmp_path, "http://127.0.0.1:9", CLAUDE_MAX_CONCURRENCY="none")
    command = shlex.split(settings["ExecStart"][0])
    (folder,) = settings["WorkingDirectory"]
    ran = subprocess.run(command, env=environment, cwd=folder, capture_output=True, timeout=PATIENCE)
    assert str(ran.returncode) in settings["RestartPreventExitStatus"]
    assert b"CLAUDE_MAX_CONCURRENCY=none" in ran.stderr


def test_the_steps_that_are_written() -> None:
    """They put the unit where systemd looks, and everything else where the unit looks."""
    heading = "systemd, for a machine"
    (block,) = [block for block in document.blocks(document.DEPLOYING) if block.section == heading]
    source = f"{INSTALLED}/"
    settings = read(SYSTEM_UNIT)
    assert f"cp {source}deploy/systemd/claude-api.service" in block.text
    for used in ("requirements.txt", "lab/find_cli.py"):
        assert (ROOT / used).exists() and f"{source}{used}" in block.text
    assert f"install -m 0600 /dev/null {settings['EnvironmentFile'][0].removeprefix('-')}\n" in block.text
    assert f"useradd --system --home-dir /var/lib/{settings['StateDirectory'][0]} " in block.text
    assert block.text.splitlines()[0].endswith(f" {settings['User'][0]}")
