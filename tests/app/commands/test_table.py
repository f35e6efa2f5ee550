"""Which command a first word is, and what each says of itself."""

from __future__ import annotations

import pytest

from claude_server.app import main as claude_api
from claude_server.app.commands.table import COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_help_of_its_own(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        claude_api.main([name, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: claude_api.py {name} ")


def test_the_servers_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        claude_api.main(["--help"])
    assert ended.value.code == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert all([name, command.SUMMARY] in lines for name, command in COMMANDS.items())


def test_a_command_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert claude_api.main(["--port", "0", "doctor"]) == 2
    assert "'doctor' is neither a port, nor a command that comes first" in capsys.readouterr().err
