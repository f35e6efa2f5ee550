"""What the self-test found, kept in a file."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest

from claude_server.engine.discovery.selftest import AbilityStore
from claude_server.engine.workers.state import Abilities

KEY = "/opt/claude 123 456 789"
FOUND = Abilities(stream_json=True, inject=True, single_400=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "abilities.json"


@pytest.mark.parametrize("name", [field.name for field in fields(Abilities)])
def test_each_ability_is_kept(path: Path, name: str) -> None:
    found = replace(Abilities(), **{name: True})
    AbilityStore(path).save(KEY, found)
    assert AbilityStore(path).load(KEY) == found


def test_nothing_is_known_of_another_binary(path: Path) -> None:
    store = AbilityStore(path)
    store.save(KEY, FOUND)
    assert store.load("/opt/claude 123 456 790") is None


def test_only_the_last_binary_is_kept(path: Path) -> None:
    store = AbilityStore(path)
    store.save("older", Abilities())
    store.save(KEY, FOUND)
    assert store.load("older") is None
    assert json.loads(path.read_text()) == {KEY: asdict(FOUND)}


def test_only_the_owner_may_read_it(path: Path) -> None:
    path.touch(0o644)
    AbilityStore(path).save(KEY, FOUND)
    assert path.stat().st_mode & 0o777 == 0o600
    # Nothing half-written lies about.
    assert list(path.parent.iterdir()) == [path]


def test_without_a_file_nothing_is_known(path: Path) -> None:
    assert AbilityStore(path).load(KEY) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"1",
        b'"text"',
        b"{}",
        json.dumps({KEY: None}).encode(),
        json.dumps({KEY: []}).encode(),
        json.dumps({KEY: {}}).encode(),
        # Of a server that knew fewer abilities.
        json.dumps({KEY: {"inject": True}}).encode(),
    ],
)
def test_a_file_that_makes_no_sense_is_no_file(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    store = AbilityStore(path)
    assert store.load(KEY) is None
    store.save(KEY, FOUND)
    assert store.load(KEY) == FOUND


def test_an_ability_that_this_server_does_not_know_is_passed_over(path: Path) -> None:
    path.write_text(json.dumps({KEY: {**asdict(FOUND), "flies": True}}))
    assert AbilityStore(path).load(KEY) == FOUND


def test_a_file_that_cannot_be_written_does_no_harm(path: Path) -> None:
    path.mkdir()
    store = AbilityStore(path)
    store.save(KEY, FOUND)
    assert store.load(KEY) is None
    missing = AbilityStore(path / "no such folder" / "abilities.json")
    missing.save(KEY, FOUND)
    assert missing.load(KEY) is None
