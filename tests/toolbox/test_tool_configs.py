"""What keys chose of the tools, and the file that keeps it."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from claude_server.core.errors import StateFailed
from claude_server.toolbox import tool_configs
from claude_server.toolbox.tool_configs import ToolConfigStore


def test_a_key_with_many_sessions_pushes_out_its_own_oldest_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it could lift what another key keeps itself from."""
    monkeypatch.setattr(tool_configs, "_MAX_SESSIONS", 3)
    store = ToolConfigStore(tmp_path)
    store.update("theirs", None, None, ("Bash",))
    store.update("theirs", "s", None, ("Bash",))
    store.update("ours", None, None, ("Write",))
    for number in range(5):
        store.update("ours", f"s{number}", ("Read",), None)
    for owner, session, there in (
        *(("theirs", None, True), ("theirs", "s", True), ("ours", None, True)),
        *(("ours", "s1", False), ("ours", "s2", True), ("ours", "s4", True)),
    ):
        assert (ToolConfigStore(tmp_path).get(owner, session) is not None) == there, (owner, session)


@contextmanager
def a_disk_that_takes_nothing() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_can_not_be_written_leaves_nothing(tmp_path: Path) -> None:
    store = ToolConfigStore(tmp_path)
    store.update("o", "Sitzung für Ä", ("Read",), None)
    with a_disk_that_takes_nothing(), pytest.raises(StateFailed):
        store.update("o", "s", None, ("Bash",))
    assert [path.name for path in tmp_path.iterdir()] == ["tools.json"]
    assert store.get("o", "s") is None and ToolConfigStore(tmp_path).get("o", "Sitzung für Ä") is not None
