"""A server starts on a state folder that a server of before made, and goes on with all that is in it.

The folder is written as version 0.1.0 wrote it, from texts: what this version writes by itself is no proof.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from dataclasses import asdict
from pathlib import Path

import httpx
import pytest

from claude_server.engine.processes.binary_cache import signature_of
from claude_server.standin import StandIn
from tests.support import PATIENCE, abilities_of, clean_environment, serving

KEY = "sk-capi-" + "x" * 43
KEYS = """{
  "version": 1,
  "keys": [
    {
      "id": "key_0123456789abcdef",
      "name": "laptop",
      "sha256": "a2d25a32b0ea3412d0f04cf74835b078dcdc50efc96777d443fe5b22b58bcf93",
      "created_at": 1764300000.5,
      "limits": {
        "rate": null,
        "concurrency": 2,
        "models": ["sonnet"]
      },
      "operator": false
    }
  ]
}
"""
SESSIONS = """
PRAGMA journal_mode=WAL;
CREATE TABLE sessions (
    owner TEXT NOT NULL, session_id TEXT NOT NULL, uuid TEXT NOT NULL UNIQUE, system TEXT NOT NULL,
    mark TEXT, cost_usd REAL, turns INTEGER NOT NULL, created_at REAL NOT NULL, last_used REAL NOT NULL,
    messages INTEGER, tools INTEGER NOT NULL DEFAULT 0, calls TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (owner, session_id)
) STRICT;
CREATE INDEX session_summaries ON sessions
    (owner, last_used, session_id, turns, messages, cost_usd, created_at);
INSERT INTO sessions VALUES ('key_0123456789abcdef', 'notes', '83809110-b60b-54fe-8850-9e456904fc61',
    'Be kind.', '0b4e7a0e-5c3a-4b53-8d8e-3a3f0a3f0a3f', 0.25, 3, 1764300000.5, {now}, 6, 0, '[[], []]');
INSERT INTO sessions VALUES ('somebody else', 'theirs', '9d33d4c6-59e5-5dd1-9d33-d4c6ec4fd04d',
    '', NULL, NULL, 0, 1764300000.5, {now}, NULL, 0, '');
PRAGMA user_version=4;
"""
# As they are kept for the binary, by its signature.
ABILITIES = (
    *("stream_json", "inject", "empty", "set_model", "set_system", "set_flags", "probes_models"),
    *("single_400", "literal_slash", "tools", "swap_tools", "extra_body", "tools_in_body", "cache_ttl"),
    *("simple", "stable_prefix"),
)


@pytest.fixture
def state(claude_bin: Path, tmp_path: Path) -> Path:
    """The folder, and the file of the self-test's findings in it."""
    made = tmp_path / "home" / "state"
    made.mkdir(parents=True, mode=0o700)
    (made / "keys.json").write_text(KEYS)
    with contextlib.closing(sqlite3.connect(made / "sessions.sqlite3")) as db:
        # Used in the year 2100, so that nothing has expired.
        db.executescript(SESSIONS.replace("{now}", "4102444800.0"))
    found = abilities_of(str(claude_bin))
    values = {name: getattr(found, name) for name in ABILITIES}
    (made / "abilities.json").write_text(json.dumps({signature_of(str(claude_bin)): values}, indent=2))
    return made


def test_a_folder_of_before(claude_bin: Path, api: StandIn, state: Path) -> None:
    abilities = json.loads((state / "abilities.json").read_text())
    environment = clean_environment(state.parent, api.url)
    environment["CLAUDE_BIN"] = str(claude_bin)
    with (
        serving(state.parent, environment) as server,
        httpx.Client(base_url=server.base_url, timeout=PATIENCE) as client,
    ):
        assert client.get("/sessions").status_code == 401
        client.headers["authorization"] = f"Bearer {KEY}"
        (kept,) = client.get("/sessions").json()["sessions"]
        assert (kept["session_id"], kept["turns"], kept["message_count"], kept["cost_usd"]) == (
            *("notes", 3, 6, 0.25),
        )

        def ask(model: str) -> httpx.Response:
            history = [("user", "before"), ("assistant", "then"), ("user", "and now?")]
            messages = [{"role": role, "content": content} for role, content in history]
            body = {"model": model, "messages": messages, "session_id": "notes"}
            return client.post("/chat/completions", json=body)

        assert ask("opus").status_code in (403, 404)
        api.push("Now.")
        answer = ask("sonnet")
        # The CLI's transcript is not part of the folder: the conversation is made again, under its prompt.
        assert (answer.status_code, answer.headers.get("x-claude-session")) == (200, "recreated"), answer.text
        assert api.last.system_texts[-1] == "Be kind."
        assert client.get("/sessions/notes").json()["turns"] == 1
    # Nothing was moved aside. The CLI was tried again, since more is asked of it by now than was then.
    found = json.loads((state / "abilities.json").read_text())
    (signature,) = found
    assert found[signature] == asdict(abilities_of(str(claude_bin)))
    assert abilities[signature].items() < found[signature].items()
    assert not [path.name for path in state.iterdir() if "corrupt" in path.name]
