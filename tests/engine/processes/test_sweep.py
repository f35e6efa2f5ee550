"""Which processes a dead server left behind, told from what `ps` says."""

from __future__ import annotations

from pathlib import Path

import pytest

from claude_server.engine.processes.argv import Launch, environment
from claude_server.engine.processes.sweep import marked, orphans, owners

# Of a server that lives (100), two that don't (200, 300), and of others.
LISTING = """\
    1 /sbin/init
  101 /opt/claude -p --model sonnet HOME=/h CLAUDE_API_OWNER=100 CLAUDE_CODE_TMPDIR=/t
  201 /opt/claude -p CLAUDE_API_OWNER=200
   99 node /opt/cli.js CLAUDE_API_OWNER=300 PATH=/bin
99202 /opt/claude -p --tools  LANG=C CLAUDE_API_OWNER=200 X=CLAUDE_API_OWNER=5
  400 vim CLAUDE_API_OWNER=
  401 vim NOT_CLAUDE_API_OWNER=200
  402 vim CLAUDE_API_OWNER=200x
  403 [kworker]

ps: something to say
"""


def test_owners() -> None:
    assert owners(LISTING) == {100, 200, 300}


@pytest.mark.parametrize(
    ("alive", "expected"),
    [
        ({100, 200, 300}, []),
        ({100}, [201, 99, 99202]),
        ({100, 200}, [99]),
        ({1, 201}, [101, 201, 99, 99202]),
    ],
)
def test_orphans(alive: set[int], expected: list[int]) -> None:
    assert orphans(LISTING, frozenset(alive)) == expected


@pytest.mark.parametrize("listing", ["", "\n", "CLAUDE_API_OWNER=1", "x CLAUDE_API_OWNER=1", "12"])
def test_lines_that_say_nothing(listing: str) -> None:
    assert orphans(listing, frozenset()) == []


def test_an_id_that_is_part_of_another_is_another() -> None:
    listing = "7 claude CLAUDE_API_OWNER=1234 A=1"
    assert orphans(listing, frozenset({123, 12345})) == [7]
    assert orphans(listing, frozenset({1234})) == []


def test_the_mark_is_the_one_that_processes_get() -> None:
    marked = environment({}, 4321, Path("/t"), Launch())
    listing = "7 claude " + " ".join(f"{name}={value}" for name, value in marked.items())
    assert owners(listing) == {4321}
    assert orphans(listing, frozenset()) == [7]


def test_by_its_folder() -> None:
    folder = Path("/state/tmp/12")
    listing = """\
   1 claude CLAUDE_CODE_TMPDIR=/state/tmp/12/1 A=1
   2 claude CLAUDE_CODE_TMPDIR=/state/tmp/12
   3 claude CLAUDE_CODE_TMPDIR=/state/tmp/12/34
   4 claude CLAUDE_CODE_TMPDIR=/state/tmp/123/1
   5 claude CLAUDE_CODE_TMPDIR=/other/state/tmp/12/1
   6 claude NOT_CLAUDE_CODE_TMPDIR=/state/tmp/12/1
"""
    assert marked(listing, folder) == [1, 2, 3]
    assert marked(listing, folder / "1") == [1]
    assert marked(listing, folder / "3") == []
