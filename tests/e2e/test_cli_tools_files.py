"""What the CLI's own tools leave in the CLI's folder, and when it is removed; by the real CLI."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import httpx

from claude_server.standin import Reply, StandIn, ToolUse
from tests.e2e.test_cli_tools import answer, results, serving_tools
from tests.invariants import eventually
from tests.support import PATIENCE, Server

LARGE = ToolUse("Bash", {"command": "for i in $(seq 20000); do echo LEFT-BEHIND $i; done"})


def snapshots(server: Server) -> list[str]:
    return sorted(path.name for path in (server.home / ".claude" / "shell-snapshots").glob("*"))


def output_left(server: Server) -> list[str]:
    """The files, anywhere below the home folder, with what LARGE said."""
    found = []
    for folder, _, names in os.walk(server.home):
        for name in names:
            # What is being removed meanwhile is gone, and a socket can't be read.
            with suppress(OSError):
                if b"LEFT-BEHIND 19" in Path(folder, name).read_bytes():
                    found.append(name)
    return found


def test_a_turn_without_a_session_leaves_nothing(each_cli: Path, api: StandIn, tmp_path: Path) -> None:
    """The CLI puts large output into a file of its own folder, and a snapshot of the shell. Both go, when the
    turn is over as when its client leaves; what another CLI of the same user keeps there stays."""
    home = tmp_path / "home"
    foreign = home / ".claude" / "shell-snapshots" / "snapshot-bash-1795864876545-abcdef.sh"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("export PATH=/usr/bin:/bin\n")
    with serving_tools(home, api, each_cli) as server:
        api.push(Reply.of(LARGE), "Done.")
        answer(server)
        assert "tool-results" in results(api.last)[0]
        eventually(lambda: snapshots(server), [foreign.name])
        eventually(lambda: output_left(server), [])
        api.reset()
        api.push(Reply.of(LARGE), Reply.of(ToolUse("Bash", {"command": "touch begun; sleep 600"})))
        body = {"messages": [{"role": "user", "content": "go"}], "enable_tools": True, "stream": True}
        url = f"{server.url}/v1/chat/completions"
        with httpx.stream("POST", url, json=body, timeout=PATIENCE):
            eventually((home / "workplace" / "begun").exists, True)
            assert len(snapshots(server)) == 2 and output_left(server) != []
        eventually(lambda: snapshots(server), [foreign.name])
        eventually(lambda: output_left(server), [])


def test_a_sessions_turn_leaves_its_output_until_it_is_deleted(
    each_cli: Path, api: StandIn, tmp_path: Path
) -> None:
    """The conversation names the file; the snapshot is of no more use."""
    with serving_tools(tmp_path / "home", api, each_cli) as server:
        api.push(Reply.of(LARGE), "Done.", "Again.")
        answer(server, session_id="s")
        eventually(lambda: snapshots(server), [])
        assert [name for name in output_left(server) if name.endswith(".txt")] != []
        assert answer(server, session_id="s")["x_claude"]["session"] == "resumed"
        eventually(lambda: snapshots(server), [])
        assert httpx.delete(f"{server.url}/v1/sessions/s").status_code == 200
        assert output_left(server) == []
