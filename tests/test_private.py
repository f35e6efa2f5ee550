"""A file in the place of another."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from claude_server import private


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kept.json"


def test_it_is_for_its_owner_alone(path: Path) -> None:
    path.touch(0o644)
    private.replace(path, "\u00e9")
    assert path.read_bytes() == b"\xc3\xa9"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("text", ["new", "not to be encoded: \ud800"])
def test_what_goes_wrong_leaves_the_old_one_and_nothing_else(
    path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path.write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises((OSError, UnicodeEncodeError)):
        private.replace(path, text)
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_in_its_place(path: Path) -> None:
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        private.replace(path, "new")
    assert list(path.parent.iterdir()) == [path]
