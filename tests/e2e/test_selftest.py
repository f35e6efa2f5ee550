"""The self-test of a real CLI, disturbed."""

from __future__ import annotations

import asyncio
from dataclasses import fields
from pathlib import Path

import pytest

from claude_server.engine.discovery import selftest
from tests.support import BASE_PATH, abilities_of

# Of its starts, some are killed, and in one of them the standard output is written into.
WRAPPER = """#!/bin/sh
n=1
until mkdir {folder}/$n 2>/dev/null; do n=$((n+1)); done
case $n in
  1|4) kill -KILL $$ ;;
  6) printf '{{"type":"control_resp' ;;
esac
exec {binary} "$@"
"""


def test_a_check_that_was_disturbed_is_made_again(claude_bin: Path, tmp_path: Path) -> None:
    """What is found is kept for good: a process killed by somebody else must not count against the CLI."""
    wrapper = tmp_path / "claude"
    wrapper.write_text(WRAPPER.format(folder=tmp_path, binary=claude_bin))
    wrapper.chmod(0o755)
    found, sure = asyncio.run(selftest.run(str(wrapper), BASE_PATH))
    assert sure
    assert found == abilities_of(str(claude_bin))
    checks = len(fields(found))
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) >= checks + 3


@pytest.mark.long
def test_on_a_slow_machine_the_cli_gets_more_time(
    claude_bin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each start takes longer than a step may take at least: the limit follows what the first one took."""
    monkeypatch.setattr(selftest, "_SHORTEST_LIMIT", 1.0)
    wrapper = tmp_path / "claude"
    wrapper.write_text(f'#!/bin/sh\nsleep 1.5\nexec {claude_bin} "$@"\n')
    wrapper.chmod(0o755)
    assert asyncio.run(selftest.run(str(wrapper), BASE_PATH)) == (abilities_of(str(claude_bin)), True)


def test_a_cli_that_is_gone_meanwhile_has_not_been_tried(tmp_path: Path) -> None:
    """Removed for an update, or no room on the disk to start it: that says nothing of what it can do."""
    _, sure = asyncio.run(selftest.run(str(tmp_path / "claude"), BASE_PATH))
    assert not sure
