"""Where a conversation is kept, and what a killed process leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from claude_server.core.errors import SessionLost, StateFailed
from claude_server.engine.processes.transcripts import (
    check_unbroken,
    config_dir,
    erase,
    put_results,
    remove_traces,
    set_aside,
    set_resume_point,
    transcript,
)

NOTE = {"type": "last-prompt", "leafUuid": "mark-1", "sessionId": "u"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"HOME": "/h"}, "/h/.claude"),
        ({"HOME": "/h", "CLAUDE_CONFIG_DIR": "/c"}, "/c"),
        ({"HOME": "/h", "CLAUDE_CONFIG_DIR": ""}, "/h/.claude"),
    ],
)
def test_the_folder_of_the_cli(environ: dict[str, str], expected: str) -> None:
    assert config_dir(environ) == Path(expected)


def test_without_a_home_it_is_the_users() -> None:
    assert config_dir({}) == Path.home() / ".claude"


@pytest.mark.parametrize(
    ("cwd", "slug"), [("/state/work", "-state-work"), ("/a.b/c_d e", "-a-b-c-d-e"), ("/é/2", "---2")]
)
def test_transcript(cwd: str, slug: str) -> None:
    assert transcript(Path("/c"), Path(cwd), "u") == Path(f"/c/projects/{slug}/u.jsonl")


def test_the_last_one_that_was_set_aside_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "u.jsonl"
    set_aside(path)
    assert list(tmp_path.iterdir()) == []
    for content in ("one", "two"):
        path.write_text(content)
        set_aside(path)
    (old,) = tmp_path.iterdir()
    assert (old.name, old.read_text()) == ("u.jsonl.old", "two")


def test_erasing_leaves_nothing_of_a_session_and_all_of_the_others(tmp_path: Path) -> None:
    uuid, other = "0b4e7a0e-5c3a-4b53-8d8e-3a3f0a3f0a3f", "0b4e7a0e-5c3a-4b53-8d8e-3a3f0a3f0a3e"
    elsewhere = transcript(tmp_path, Path("/home/user"), uuid)
    for name in (uuid, other):
        path = transcript(tmp_path, Path("/state/work"), name)
        path.parent.mkdir(parents=True, exist_ok=True)
        for file in (path, path.with_suffix(".jsonl.old"), tmp_path / "todos" / f"{name}-agent-{name}.json"):
            file.parent.mkdir(exist_ok=True)
            file.write_text("said")
        (path.with_suffix("") / "tool-results").mkdir(parents=True)
        (path.with_suffix("") / "tool-results" / "1.txt").write_text("said")
    elsewhere.parent.mkdir()
    elsewhere.write_text("the user's own")
    assert erase(tmp_path, Path("/state/work"), uuid)
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {f"{other}.jsonl", f"{other}.jsonl.old", f"{other}-agent-{other}.json", "1.txt"} | {
        elsewhere.name
    }
    assert not erase(tmp_path, Path("/state/work"), uuid)
    assert not erase(tmp_path / "missing", Path("/state/work"), uuid)


def test_a_resume_begins_at_the_mark(tmp_path: Path) -> None:
    path = tmp_path / "u.jsonl"
    before = '{"uuid":"mark-1"}\n{"uuid":"later"}\n'
    path.write_text(before)
    set_resume_point(path, "u", "mark-1")
    assert path.read_text().startswith(before)
    assert json.loads(path.read_text().removeprefix(before)) == NOTE
    assert path.read_text().endswith("}\n")


def test_a_line_that_a_kill_cut_does_not_take_the_note_with_it(tmp_path: Path) -> None:
    path = tmp_path / "u.jsonl"
    path.write_text('{"uuid":"mark-1"}\n{"uuid":"lat')
    set_resume_point(path, "u", "mark-1")
    lines = path.read_text().splitlines()
    assert json.loads(lines[0]) == {"uuid": "mark-1"}
    assert json.loads(lines[-1]) == NOTE


def test_a_transcript_without_the_mark(tmp_path: Path) -> None:
    path = tmp_path / "u.jsonl"
    path.write_text('{"uuid":"other"}\n')
    with pytest.raises(SessionLost, match="session u doesn't hold its last answer"):
        set_resume_point(path, "u", "mark-1")
    assert path.read_text() == '{"uuid":"other"}\n'


def test_a_transcript_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(SessionLost, match="session u can't be used"):
        set_resume_point(tmp_path / "u.jsonl", "u", "mark-1")
    assert list(tmp_path.iterdir()) == []


def test_only_the_traces_of_the_process_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "sessions"
    folder.mkdir()
    for name in ("12.json", "12.abc.key", "12.def.key", "123.json", "123.abc.key", "1.json", "12.txt"):
        (folder / name).touch()
    remove_traces(tmp_path, tmp_path / ".claude.json", 12)
    assert {path.name for path in folder.iterdir()} == {"123.json", "123.abc.key", "1.json", "12.txt"}


def test_no_traces_to_remove(tmp_path: Path) -> None:
    remove_traces(tmp_path, tmp_path / ".claude.json", 12)
    remove_traces(tmp_path / "nowhere", tmp_path / "nowhere" / ".claude.json", 12)
    assert list(tmp_path.iterdir()) == []


def test_traces_that_cannot_be_removed(tmp_path: Path) -> None:
    """Whoever sees a process to its end goes on."""
    (tmp_path / "sessions" / "12.json").mkdir(parents=True)
    remove_traces(tmp_path, tmp_path / ".claude.json", 12)
    assert (tmp_path / "sessions" / "12.json").exists()


def written(path: Path, *events: object) -> Path:
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return path


CHAIN = [
    {"type": "queue-operation"},
    {"uuid": "u1", "parentUuid": None},
    {"uuid": "a1", "parentUuid": "u1"},
    {"uuid": "x1", "parentUuid": "a1"},
    {"uuid": "u2", "parentUuid": "a1"},
    {"uuid": "a2", "parentUuid": "u2"},
]


def test_a_conversation_that_is_all_there(tmp_path: Path) -> None:
    for mark in ("a1", "a2"):
        check_unbroken(written(tmp_path / "t.jsonl", *CHAIN), "s", mark)
    # Lines that say nothing, and half of one; a transcript that isn't there is the CLI's to report.
    with (tmp_path / "t.jsonl").open("a") as file:
        file.write('[1]\n"text"\n{"uuid": 5}\n{"uuid": "a3", "paren')
    check_unbroken(tmp_path / "t.jsonl", "s", "a2")
    check_unbroken(tmp_path / "none.jsonl", "s", "a2")


@pytest.mark.parametrize("lost", [1, 2, 4, 5])
def test_a_conversation_with_a_hole(tmp_path: Path, lost: int) -> None:
    """As a disk leaves it that was full for a while."""
    path = written(tmp_path / "t.jsonl", *(event for i, event in enumerate(CHAIN) if i != lost))
    with pytest.raises(SessionLost):
        check_unbroken(path, "s", "a2")


def test_a_conversation_that_goes_round_in_circles(tmp_path: Path) -> None:
    path = written(tmp_path / "t.jsonl", {"uuid": "a", "parentUuid": "b"}, {"uuid": "b", "parentUuid": "a"})
    with pytest.raises(SessionLost):
        check_unbroken(path, "s", "a")


RESULTS = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": []}]}


def test_results_take_the_place_of_what_follows_their_calls(tmp_path: Path) -> None:
    """Whatever an interrupt or a failed turn wrote there, each time anew."""
    path = tmp_path / "u.jsonl"
    question = {"uuid": "q", "parentUuid": None, "text": "speaks of mark-1"}
    call = {"uuid": "mark-1", "parentUuid": "q", "type": "assistant", "sessionId": "u", "cwd": "/w", "x": 1}
    before = [json.dumps(question), json.dumps(call)]
    for rest in ("", '{"uuid": "rejected", "parentUuid": "mark-1"}\n{"half": '):
        path.write_text("\n".join(before) + "\n" + rest)
        for _ in range(2):
            name = put_results(path, "u", "mark-1", RESULTS)
            *kept, added = path.read_text().splitlines()
            assert kept == before
            row = json.loads(added)
            assert row.pop("timestamp").endswith("Z")
            assert row == {
                **{"uuid": name, "parentUuid": "mark-1", "type": "user", "message": RESULTS},
                **{"sessionId": "u", "cwd": "/w"},
            }
            check_unbroken(path, "u", name)


def test_results_need_their_calls(tmp_path: Path) -> None:
    path = tmp_path / "u.jsonl"
    with pytest.raises(SessionLost):
        put_results(path, "u", "mark-1", RESULTS)
    path.write_text('{"uuid": "other", "text": "mark-1"}\n{"uuid": "mark-1"')
    with pytest.raises(SessionLost):
        put_results(path, "u", "mark-1", RESULTS)
    assert "other" in path.read_text()
    with pytest.raises(StateFailed):
        put_results(tmp_path, "u", "mark-1", RESULTS)
