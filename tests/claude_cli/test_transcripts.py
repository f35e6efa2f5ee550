"""Where a conversation is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from claude_cli.transcripts import transcript


@pytest.mark.parametrize(
    ("environ", "cwd", "expected"),
    [
        ({"HOME": "/h"}, "/state/work", "/h/.claude/projects/-state-work/u.jsonl"),
        ({"HOME": "/h", "CLAUDE_CONFIG_DIR": "/c"}, "/state/work", "/c/projects/-state-work/u.jsonl"),
        ({"HOME": "/h", "CLAUDE_CONFIG_DIR": ""}, "/a.b/c_d e", "/h/.claude/projects/-a-b-c-d-e/u.jsonl"),
        ({"HOME": "/h"}, "/é/2", "/h/.claude/projects/---2/u.jsonl"),
    ],
)
def test_transcript(environ: dict[str, str], cwd: str, expected: str) -> None:
    assert transcript(environ, Path(cwd), "u") == Path(expected)


def test_without_a_home_it_is_the_users() -> None:
    expected = Path("~").expanduser() / ".claude" / "projects" / "-w" / "u.jsonl"
    assert transcript({}, Path("/w"), "u") == expected
