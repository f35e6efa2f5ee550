"""`python claude_api.py keys`, as a person types it."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from claude_server.app import main as claude_api
from claude_server.http.guard import keys as guard_keys
from claude_server.http.guard.keyfile import KeyFile


class Terminal:
    """Runs the command on a state folder of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    def __call__(self, *words: str) -> tuple[int, str, str]:
        code = claude_api.main(["keys", *words, "--state-dir", str(self.folder)])
        said = self._capsys.readouterr()
        return code, said.out, said.err


@pytest.fixture
def keys(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.chdir(tmp_path)
    return Terminal(tmp_path / "state", capsys)


def test_a_key_is_shown_once_and_alone(keys: Terminal) -> None:
    code, out, err = keys("add", "ci")
    assert code == 0
    assert re.fullmatch(r"sk-capi-[\w-]{43}\n", out)
    assert "'ci'" in err and "once" in err
    file = KeyFile(keys.folder)
    found = guard_keys.find(file.load(), out.strip().encode())
    assert found is not None and found.name == "ci"
    assert keys.folder.stat().st_mode & 0o777 == 0o700
    assert out.strip() not in "".join(path.read_text() for path in keys.folder.iterdir())


def test_the_list(keys: Terminal) -> None:
    assert keys("list") == (
        0,
        "There are no keys. Add one with: python claude_api.py keys add NAME\n",
        "",
    )
    keys("add", "ci")
    keys("add", "phone", "--rate", "5", "--concurrency", "2", "--models", "sonnet, haiku", "--operator")
    code, out, _ = keys("list")
    assert code == 0
    today = time.strftime("%Y-%m-%d")
    rows = [re.split(r"  +", line) for line in out.splitlines()]
    assert rows[0] == ["NAME", "ADDED", "A MINUTE", "AT A TIME", "MODELS", "OPERATOR"]
    assert [row[0:1] + row[2:] for row in rows[1:]] == [
        ["ci", "any", "any", "any", "no"],
        ["phone", "5", "2", "sonnet, haiku", "yes"],
    ]
    assert all(row[1].startswith(today) for row in rows[1:])


def test_revoking(keys: Terminal) -> None:
    for name in ("a", "b"):
        keys("add", name)
    assert keys("revoke", "a") == (0, "The key 'a' no longer works.\n", "")
    code, out, _ = keys("revoke", "b")
    assert code == 0 and "No key is left" in out
    code, out, err = keys("revoke", "b")
    assert (code, out) == (2, "") and "There is no key 'b'" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("add", "a b"), "'a b' can't be a key's name"),
        (("add", "x", "--rate", "0"), "--rate needs a number from 1 on"),
        (("add", "x", "--concurrency", "-1"), "--concurrency needs a number from 1 on"),
        (("add", "x", "--models", " ,"), "--models needs at least one name"),
        (("add", "taken"), "There is a key 'taken' already"),
    ],
)
def test_what_cannot_be_added(keys: Terminal, words: tuple[str, ...], says: str) -> None:
    keys("add", "taken")
    code, out, err = keys(*words)
    assert (code, out) == (2, "") and says in err
    assert [key.name for key in KeyFile(keys.folder).load()] == ["taken"]


def test_a_broken_file_is_told(keys: Terminal) -> None:
    keys.folder.mkdir()
    (keys.folder / "keys.json").write_text("nonsense")
    for words in (("list",), ("add", "x"), ("revoke", "x")):
        code, out, err = keys(*words)
        assert (code, out) == (2, "") and "move it away" in err


@pytest.mark.parametrize("words", [(), ("steal",), ("add",), ("revoke",), ("add", "x", "--rate", "many")])
def test_words_that_mean_nothing(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        claude_api.main(["keys", *words])
    assert ended.value.code == 2
    assert "usage: claude_api.py keys" in capsys.readouterr().err
