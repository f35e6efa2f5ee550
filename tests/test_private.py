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


# Read again when it has changed


class Reads:
    """Parses numbers, and counts."""

    def __init__(self, path: Path) -> None:
        self.count = 0
        self.file: private.WatchedFile[int] = private.WatchedFile(path, self._parse, -1)

    def _parse(self, raw: bytes) -> int:
        self.count += 1
        return int(raw)


def test_a_file_is_read_when_it_has_changed(path: Path) -> None:
    reads = Reads(path)
    assert reads.file.load() == -1
    for number in (1, 2):
        private.replace(path, str(number))
        assert [reads.file.load() for _ in range(3)] == [number] * 3
        assert reads.count == number
    path.unlink()
    assert (reads.file.load(), reads.count) == (-1, 2)


def test_a_change_that_hides_its_time_is_seen(path: Path) -> None:
    """Written in its place, as long as before, and with the time of the last writing put back."""
    reads = Reads(path)
    path.write_text("1")
    before = path.stat()
    assert reads.file.load() == 1
    while path.stat().st_ctime_ns == before.st_ctime_ns:
        path.write_text("2")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_size) == (
        *(before.st_ino, before.st_mtime_ns, before.st_size),
    )
    assert reads.file.load() == 2


def test_what_is_not_understood_is_read_once(path: Path) -> None:
    reads = Reads(path)
    path.write_text("one")
    depths = set()
    for _ in range(3):
        with pytest.raises(ValueError, match="invalid literal") as raised:
            reads.file.load()
        depths.add(len(raised.traceback))
    assert reads.count == 1 and len(depths) == 1
    private.replace(path, "1")
    assert reads.file.load() == 1


def test_what_can_not_be_read_is_tried_again(path: Path) -> None:
    reads = Reads(path)
    path.mkdir()
    for _ in range(2):
        with pytest.raises(IsADirectoryError):
            reads.file.load()
    path.rmdir()
    path.write_text("1")
    assert reads.file.load() == 1
