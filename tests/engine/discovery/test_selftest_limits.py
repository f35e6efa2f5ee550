"""How long the self-test waits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from claude_server.engine.discovery import selftest
from claude_server.engine.discovery.selftest import step_limit
from claude_server.engine.workers.state import Abilities
from tests.e2e.faulty import write_fake


@pytest.mark.parametrize(
    ("greeting", "limit"), [(0.0, 10), (0.3, 10), (0.5, 10), (1.5, 30), (3.0, 60), (50.0, 60)]
)
def test_a_slow_machine_gets_more_time(greeting: float, limit: float) -> None:
    assert step_limit(greeting) == pytest.approx(limit)


async def test_a_cli_that_never_greets_us_is_given_up_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One long wait for each of the two that try at a time; nothing is known then."""
    monkeypatch.setattr(selftest, "_LONGEST_LIMIT", 0.5)
    write_fake(tmp_path / "claude", "hangs at the start")
    assert await selftest.run(str(tmp_path / "claude"), os.defpath) == (Abilities(), False)
    assert (tmp_path / "claude.started").read_text() == "xx"
