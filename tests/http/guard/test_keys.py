"""What a key is, and how the file keeps it."""

from __future__ import annotations

import errno
import hmac
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from claude_server.http.guard import keys
from claude_server.http.guard.keyfile import KeyFile, KeyFileFailed, NameTaken, NoSuchKey
from claude_server.http.guard.keys import Key, KeyLimits
from claude_server.http.guard.ring import KeyRing
from tests.support import ROOT

NONE = KeyLimits()


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path)


def test_a_new_key_is_256_random_bits() -> None:
    made = {keys.new_token() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"sk-capi-[\w-]{43}", token) for token in made)


def test_a_key_of_the_settings_keeps_its_id() -> None:
    first, again = keys.from_settings("API_KEY", "secret"), keys.from_settings("API_KEYS.2", "secret")
    other = keys.from_settings("API_KEY", "Secret")
    assert first.id == again.id != other.id
    # The id goes into records and must not give the hash away, by which a weak key could be guessed.
    assert first.id.removeprefix("env_") not in first.sha256
    assert "secret" not in repr(first) and first.sha256 not in repr(first)


def test_a_key_is_found_among_others(file: KeyFile) -> None:
    tokens = [file.add(name, NONE) for name in ("a", "b", "c")]
    for token, name in zip(tokens, ("a", "b", "c"), strict=True):
        found = keys.find(file.load(), token.encode())
        assert found is not None and found.name == name
    for wrong in (b"", tokens[0][:-1].encode(), tokens[0].upper().encode(), "schl\xfcssel".encode("latin-1")):
        assert keys.find(file.load(), wrong) is None
    assert keys.find((), tokens[0].encode()) is None


@pytest.mark.parametrize("offered", ["first", "last", "none of them"])
def test_a_key_is_compared_with_all_in_constant_time(offered: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = [keys.from_settings(name, name) for name in ("first", "middle", "last")]
    compared = []

    def compare(kept: str, given: str) -> bool:
        compared.append((kept, given))
        return hmac.compare_digest(kept, given)

    monkeypatch.setattr(keys, "compare_digest", compare)
    found = keys.find(known, offered.encode())
    assert (found.name if found else "none of them") == offered
    # Hashes of one length, and all of them: what it takes tells nothing.
    assert [kept for kept, _ in compared] == [key.sha256 for key in known]
    assert {len(given) for _, given in compared} == {64}


def test_the_file_holds_hashes_and_is_private(file: KeyFile) -> None:
    limits = KeyLimits(rate=3, concurrency=2, models=("sonnet", "haiku"))
    token = file.add("ci", limits)
    text = file.path.read_text()
    assert token not in text and token.removeprefix(keys.PREFIX) not in text
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.with_suffix(".lock").stat().st_mode) == 0o600
    (key,) = KeyFile(file.path.parent).load()
    assert (key.name, key.limits) == ("ci", limits)
    assert sorted(path.name for path in file.path.parent.iterdir()) == ["keys.json", "keys.lock"]


def test_one_key_a_name(file: KeyFile) -> None:
    file.add("ci", NONE)
    with pytest.raises(NameTaken):
        file.add("ci", NONE)
    (first,) = file.load()
    assert file.revoke("ci") == 0
    with pytest.raises(NoSuchKey):
        file.revoke("ci")
    file.add("ci", NONE)
    # A new key doesn't inherit the sessions of the one before it.
    assert file.load()[0].id != first.id


@pytest.mark.parametrize("name", ["", " ", "-x", "a b", "a\n", "ü", "x" * 65, "../x"])
def test_names_that_cannot_be(file: KeyFile, name: str) -> None:
    with pytest.raises(ValidationError):
        file.add(name, NONE)
    assert file.load() == ()


def test_no_file_is_no_keys(file: KeyFile) -> None:
    assert file.load() == ()
    with pytest.raises(NoSuchKey):
        file.revoke("x")


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", '{"version": 2, "keys": []}', '{"keys": [{}]}', '{"keys": [], "more": 1}'),
        '{"keys": [{"id": "key_1", "name": "n", "sha256": "00"}]}',
    ],
)
def test_a_file_that_is_not_understood(file: KeyFile, text: str) -> None:
    file.path.write_text(text)
    for _ in range(2):
        with pytest.raises(KeyFileFailed, match=r"keys\.json holds no keys that this version understands"):
            file.load()
    with pytest.raises(KeyFileFailed):
        file.add("x", NONE)
    assert file.path.read_text() == text


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(KeyFileFailed, match="can't be written to: No such file"):
        KeyFile(tmp_path / "gone").add("x", NONE)
    (tmp_path / "file").touch()
    with pytest.raises(KeyFileFailed, match="can't be read: Not a directory"):
        KeyFile(tmp_path / "file").load()


def test_a_full_disk_leaves_the_keys_that_were(file: KeyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    file.add("a", NONE)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for change in (lambda: file.add("b", NONE), lambda: file.revoke("a")):
        with pytest.raises(KeyFileFailed, match="can't be written: No space left on device"):
            change()
    assert [key.name for key in file.load()] == ["a"]
    assert sorted(path.name for path in file.path.parent.iterdir()) == ["keys.json", "keys.lock"]


def test_a_folder_in_the_place_of_the_file(file: KeyFile) -> None:
    file.path.mkdir()
    with pytest.raises(KeyFileFailed, match="can't be read: Is a directory"):
        file.load()


def test_commands_at_a_time_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from claude_server.http.guard.keyfile import KeyFile; from claude_server.http.guard.keys import *\n"
    )
    code += "file = KeyFile(Path(sys.argv[1]))\n"
    code += "for number in range(20): file.add(f'{sys.argv[2]}-{number}', KeyLimits())"
    command = [sys.executable, "-c", code, str(tmp_path)]
    writers = [subprocess.Popen([*command, name], cwd=ROOT) for name in "abc"]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    found = KeyFile(tmp_path).load()
    assert sorted(key.name for key in found) == sorted(
        f"{name}-{number}" for name in "abc" for number in range(20)
    )


# The ring


def key(name: str, token: str) -> Key:
    return keys.from_settings(name, token)


def test_a_ring_without_keys(file: KeyFile) -> None:
    ring = KeyRing((), file)
    assert not ring.required
    assert ring.find(b"x") is None


def test_a_ring_notices_what_is_added_and_revoked(file: KeyFile) -> None:
    ring = KeyRing((), file)
    assert not ring.required
    elsewhere = KeyFile(file.path.parent)
    token = elsewhere.add("a", NONE).encode()
    assert ring.required
    found = ring.find(token)
    assert found is not None and found.name == "a"
    other = elsewhere.add("b", NONE).encode()
    assert ring.find(other) is not None
    elsewhere.revoke("a")
    assert ring.find(token) is None and ring.find(other) is not None


def test_a_ring_that_had_keys_never_opens(file: KeyFile) -> None:
    ring = KeyRing((), file)
    token = file.add("a", NONE)
    assert ring.find(token.encode()) is not None
    file.revoke("a")
    assert ring.required and ring.find(token.encode()) is None
    file.path.unlink()
    assert ring.required


def test_a_broken_file_lets_nobody_in_but_the_settings_keys(file: KeyFile) -> None:
    token = file.add("a", NONE)
    good = file.path.read_text()
    ring = KeyRing((key("API_KEY", "secret"),), file)
    file.path.write_text("{")
    assert ring.required and ring.find(token.encode()) is None
    assert ring.find(b"secret") is not None
    file.path.write_text(good)
    assert ring.find(token.encode()) is not None
    open_so_far = KeyRing((), KeyFile(file.path.parent))
    file.path.write_text("{")
    assert open_so_far.required


def test_what_is_logged_of_a_ring_holds_no_key(file: KeyFile) -> None:
    ring = KeyRing((key("API_KEY", "secret"),), file)
    assert "secret" not in repr(ring)
    assert "secret" not in json.dumps([repr(key) for key in ring.current()])
