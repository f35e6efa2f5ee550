"""What the engine does beside turns."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from claude_server.engine.binary import EngineOptions
from claude_server.engine.engine import CliEngine
from tests.e2e.faulty import write_fake


async def test_a_login_that_cannot_be_asked_for_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks for the state of things gets it, also on a machine that can start nothing."""
    write_fake(tmp_path / "claude", "logged out")
    environ = {"PATH": os.defpath, "HOME": str(tmp_path)}
    engine = CliEngine(str(tmp_path / "claude"), tmp_path / "state", environ, EngineOptions(level="spawn"))
    await engine.start()
    assert engine.state.logged_in is False
    begun: list[object] = []

    async def spawn(*arguments: object) -> None:
        begun.append(arguments)
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("claude_server.engine.processes.table.spawn", spawn)
    await engine.recheck_login()
    assert len(begun) == 1 and engine.state.logged_in is False
    await engine.close()


async def test_a_state_folder_that_takes_nothing_is_a_problem_of_turns(tmp_path: Path) -> None:
    """The server runs, and says so; once there is room it goes on by itself."""
    write_fake(tmp_path / "claude", "good")
    state = tmp_path / "state"
    state.mkdir()
    (state / "tmp").write_text("in the way")
    environ = {"PATH": os.defpath, "HOME": str(tmp_path)}
    engine = CliEngine(str(tmp_path / "claude"), state, environ, EngineOptions(level="spawn"))
    await engine.start()
    assert not engine.state.ready and "File exists" in str(engine.state.problem)
    (state / "tmp").unlink()
    await engine.start()
    assert engine.state.ready and engine.state.problem is None
    await engine.close()
