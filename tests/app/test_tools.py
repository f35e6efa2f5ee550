"""What the operator allows of the CLI's own tools: refused at the start where it can't be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from claude_server.app.tools import work_folder
from claude_server.configuration.settings import ConfigError, Settings


def folder(tmp_path: Path, **given: Any) -> Path | None:
    return work_folder(Settings.model_validate({"state_dir": tmp_path / "state", **given}))


def test_a_folder_without_tools_says_nothing(tmp_path: Path) -> None:
    assert folder(tmp_path, work_dir="/nowhere") is None


def test_links_are_followed(tmp_path: Path) -> None:
    """The CLI names its transcripts after the place itself."""
    (tmp_path / "work").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "work")
    assert folder(tmp_path, work_dir=tmp_path / "link", allow_tools="on") == tmp_path / "work"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "needs CLAUDE_CWD"),
        ({"work_dir": "/nowhere/at/all"}, "is no folder"),
        ({"work_dir": "state/work"}, "lies in the state folder"),
        ({"work_dir": "own/work"}, "lies in the claude CLI's own folder"),
    ],
)
def test_what_is_refused(tmp_path: Path, given: dict[str, str], says: str) -> None:
    for place in ("state", "own"):
        (tmp_path / place / "work").mkdir(parents=True)
    given = {name: str(tmp_path / value) for name, value in given.items()}
    child_env = {"CLAUDE_CONFIG_DIR": str(tmp_path / "own")}
    with pytest.raises(ConfigError, match=says):
        folder(tmp_path, allow_tools="Read", child_env=child_env, **given)


def test_no_bypass_as_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(ConfigError, match="CLAUDE_ALLOW_BYPASS can't be used as root"):
        folder(tmp_path, allow_tools="on", work_dir=tmp_path, allow_bypass=True)
