"""Codex by `codex exec`, with the config.toml of docs/clients.md."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from claude_server.standin import ApiError, ApiRequest, Reply, StandIn, Thinking, ToolUse
from tests.clients.environments import FOLDER, NODE
from tests.clients.scenes import blocks
from tests.proxy import Proxy
from tests.readme.document import DOCS
from tests.support import BASE_PATH

BINARIES = FOLDER / NODE / "node_modules" / ".bin"
PATCH = "*** Begin Patch\n*** Add File: made.txt\n+made by codex\n*** End Patch"
RUN = ("exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox")


def config(proxy: Proxy) -> str:
    """The one that the page shows, for this server."""
    page = (DOCS / "clients.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    return str(shown).replace("http://127.0.0.1:8765", proxy.url)


def codex(home: Path, proxy: Proxy, *arguments: str) -> subprocess.CompletedProcess[str]:
    (home / ".codex").mkdir(parents=True, exist_ok=True)
    (home / ".codex" / "config.toml").write_text(config(proxy))
    work = home / "work"
    work.mkdir(exist_ok=True)
    environment = {"PATH": f"{BINARIES}:{BASE_PATH}", "HOME": str(home), "CLAUDE_API_KEY": "not-used"}
    return subprocess.run(
        [str(BINARIES / "codex"), *RUN, "-C", str(work), *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def act(request: ApiRequest) -> Reply:
    """A shell call, a file by apply_patch where that is offered, then what came of the last call."""
    results = blocks(request, "tool_result")
    if not results:
        return Reply.of(Thinking("Let me look."), ToolUse("exec_command", {"cmd": "echo from-the-shell"}))
    if len(results) == 1 and "apply_patch" in request.tools:
        return Reply.of(ToolUse("apply_patch", {"input": PATCH}))
    return Reply.of("It says: " + str(results[-1]["content"])[-200:])


def test_codex(api: StandIn, proxy: Proxy, tmp_path: Path) -> None:
    """A shell call and its answer; then the same thread resumed."""
    api.responder = act
    first = codex(tmp_path, proxy, "look")
    assert first.returncode == 0, first.stderr
    assert "from-the-shell" in first.stdout and "Let me look." in first.stderr
    assert len(api.turns) == 2
    again = codex(tmp_path, proxy, "resume", "--last", "and now?")
    assert again.returncode == 0 and "from-the-shell" in again.stdout, again.stderr
    assert "and now?" in api.last.last_user_text and len(blocks(api.last, "tool_use")) == 1


def test_codex_makes_a_file(api: StandIn, proxy: Proxy, tmp_path: Path) -> None:
    """By its custom tool, which it has for some names of models."""
    api.responder = act
    made = codex(tmp_path, proxy, "-m", "gpt-5.5", "make a file")
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "work" / "made.txt").read_text() == "made by codex\n"


def test_codex_is_told_of_a_failure(api: StandIn, proxy: Proxy, tmp_path: Path) -> None:
    api.responder = lambda request: ApiError(
        400, message="prompt is too long: 300000 tokens > 200000 maximum"
    )
    failed = codex(tmp_path, proxy, "look")
    # In its own words, which the code makes it choose; and it doesn't ask again.
    assert failed.returncode != 0 and "room in the model's context window" in failed.stderr
    assert len(api.turns) == 1
