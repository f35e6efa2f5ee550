"""What keys chose of the tools, and the file that keeps it."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from toolbox import choices
from toolbox.choices import ToolChoices
from turns.errors import StateFailed


def test_a_key_with_many_sessions_pushes_out_its_own_oldest_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it could lift what another key keeps itself from."""
    monkeypatch.setattr(choices, "_MOST", 3)
    store = ToolChoices(tmp_path)
    store.choose("theirs", None, None, ("Bash",))
    store.choose("theirs", "s", None, ("Bash",))
    store.choose("ours", None, None, ("Write",))
    for number in range(5):
        store.choose("ours", f"s{number}", ("Read",), None)
    for owner, session, there in (
        *(("theirs", None, True), ("theirs", "s", True), ("ours", None, True)),
        *(("ours", "s1", False), ("ours", "s2", True), ("ours", "s4", True)),
    ):
        assert (ToolChoices(tmp_path).of(owner, session) is not None) == there, (owner, session)


@contextmanager
def a_disk_that_takes_nothing() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_can_not_be_written_leaves_nothing(tmp_path: Path) -> None:
    store = ToolChoices(tmp_path)
    store.choose("o", "Sitzung für Ä", ("Read",), None)
    with a_disk_that_takes_nothing(), pytest.raises(StateFailed):
        store.choose("o", "s", None, ("Bash",))
    assert [path.name for path in tmp_path.iterdir()] == ["tools.json"]
    assert store.of("o", "s") is None and ToolChoices(tmp_path).of("o", "Sitzung für Ä") is not None
