"""Tools of the CLI's own, run by the real CLI: what they may do, what clients see of it, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from claude_server.standin import ApiError, ApiRequest, Reply, StandIn, Thinking, ToolUse
from tests.invariants import eventually
from tests.support import PATIENCE, Server, clean_environment, serving

DEFAULT = ["Bash", "Edit", "Glob", "Grep", "Read", "Write"]
KEYS = {"API_KEY": "operator-key-0123456789", "API_KEYS": "other-key-0123456789"}


@contextmanager
def serving_tools(home: Path, api: StandIn, claude: Path, **more: str) -> Iterator[Server]:
    work = home / "workplace"
    work.mkdir(parents=True)
    (work / "a.txt").write_text("what the file says\n")
    chosen = {"CLAUDE_BIN": str(claude), "CLAUDE_ALLOW_TOOLS": "on", "CLAUDE_CWD": str(work)}
    chosen |= {"CLAUDE_BASE_BACKOFF": "0.05", "CLAUDE_MAX_RETRIES": "2"}
    with serving(home, clean_environment(home, api.url, **{**chosen, **more})) as running:
        yield running


@pytest.fixture(scope="module")
def tooled(
    claude_bin: Path, shared_api: StandIn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """One server for the tests that need nothing of their own."""
    with serving_tools(tmp_path_factory.mktemp("tools"), shared_api, claude_bin) as running:
        yield running


def ask(
    server: Server, text: str = "go", headers: dict[str, str] | None = None, **more: Any
) -> httpx.Response:
    body = {"model": "sonnet", "messages": [{"role": "user", "content": text}], "enable_tools": True, **more}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=headers, timeout=PATIENCE)


def answer(
    server: Server, text: str = "go", headers: dict[str, str] | None = None, **more: Any
) -> dict[str, Any]:
    got = ask(server, text, headers, **more)
    assert got.status_code == 200, got.text
    body: dict[str, Any] = got.json()
    return body


def results(request: ApiRequest) -> list[str]:
    """What the tools gave, as it reached the API."""
    found = []
    for message in request.messages:
        for block in message["content"] if isinstance(message["content"], list) else ():
            if block["type"] == "tool_result":
                content = block["content"]
                found.append(content if isinstance(content, str) else content[0]["text"])
    return found


def test_tools_run_in_the_work_folder_and_are_told(tooled: Server, api: StandIn) -> None:
    """Several requests to the API, one answer: all texts, the sum of the usage, the tools as reasoning."""
    api.push(
        Reply.of("I look.", ToolUse("Bash", {"command": "cat a.txt; pwd"})),
        Reply.of(ToolUse("Write", {"file_path": str(tooled.home / "workplace" / "n.txt"), "content": "x"})),
        Reply.of("Done."),
    )
    got = answer(tooled, "Look at a.txt")
    assert [sorted(turn.tools) for turn in api.turns] == [DEFAULT] * 3
    assert results(api.last)[0] == f"what the file says\n{tooled.home / 'workplace'}"
    assert (tooled.home / "workplace" / "n.txt").read_text() == "x"
    (choice,) = got["choices"]
    assert choice["finish_reason"] == "stop" and choice["message"]["content"] == "I look.\n\nDone."
    assert choice["message"]["reasoning_content"].splitlines() == [
        "Bash: cat a.txt; pwd",
        f"Write: {tooled.home / 'workplace' / 'n.txt'}",
    ]
    assert got["x_claude"]["api_requests"] == 3 and got["x_claude"]["engine"] == "tools"
    asked = [turn.usage for turn in api.turns]
    assert got["usage"]["prompt_tokens"] == sum(
        u.input_tokens + u.cache_read_input_tokens + u.cache_creation_input_tokens for u in asked
    )
    assert got["x_claude"]["cost_usd"] > 0


def test_nothing_outside_what_is_allowed(tooled: Server, api: StandIn) -> None:
    """Files elsewhere, and tools that were not allowed, are refused to the model; the turn goes on."""
    api.push(
        Reply.of(
            ToolUse("Read", {"file_path": str(tooled.home / "state" / "abilities.json")}),
            ToolUse("Write", {"file_path": str(tooled.home / "elsewhere.txt"), "content": "x"}),
            ToolUse("Bash", {"command": "touch made-by-bash"}),
        ),
        Reply.of("Done."),
    )
    got = answer(tooled, headers={"X-Claude-Allowed-Tools": "Read, Write, Bash(git *)"})
    assert got["choices"][0]["message"]["content"] == "Done."
    assert len(results(api.last)) == 3 and all("not allowed here" in text for text in results(api.last))
    assert not (tooled.home / "elsewhere.txt").exists()
    assert not (tooled.home / "workplace" / "made-by-bash").exists()
    assert sorted(api.last.tools) == ["Bash", "Read", "Write"]


def test_the_clis_own_folder_is_closed(each_cli: Path, api: StandIn, tmp_path: Path) -> None:
    """The CLI lets its tools into some of it by itself: what other callers said is there, and what one writes
    there would be told to others."""
    with serving_tools(tmp_path / "home", api, each_cli) as server:
        own = server.home / ".claude"
        answer(server, "a secret of somebody's", session_id="s")
        (transcript,) = own.glob("projects/*workplace*/*.jsonl")
        notes = transcript.parent / "memory" / "MEMORY.md"
        notes.parent.mkdir()
        notes.write_text("left by somebody")
        (own / "tasks" / "x").mkdir(parents=True)
        (own / "tasks" / "x" / "1.json").write_text("a secret of somebody's")
        (server.home / "workplace" / "link").symlink_to(transcript.parent)
        api.reset()
        api.push(
            Reply.of(
                ToolUse("Read", {"file_path": str(transcript)}),
                ToolUse("Read", {"file_path": f"link/{transcript.name}"}),
                ToolUse("Grep", {"pattern": "secret", "path": str(own / "tasks"), "output_mode": "content"}),
                ToolUse("Write", {"file_path": str(notes.with_name("more.md")), "content": "x"}),
                ToolUse("Write", {"file_path": str(own / "agent-memory" / "a" / "b.md"), "content": "x"}),
            ),
            Reply.of("Done."),
        )
        answer(server)
        assert len(results(api.last)) == 5
        assert all("denied" in text for text in results(api.last)), results(api.last)
        assert "left by somebody" not in json.dumps(api.last.body)
        assert not notes.with_name("more.md").exists() and not (own / "agent-memory").exists()


def test_headers_reach_the_cli(tooled: Server, api: StandIn) -> None:
    # A model with a budget thinks before it calls: the API refuses what comes next otherwise.
    calls = [ToolUse("Bash", {"command": f"echo {n}"}) for n in range(3)]
    api.push(*[Reply.of(Thinking("So."), f"{n}", call) for n, call in enumerate(calls)])
    got = answer(
        tooled,
        model="claude-sonnet-4-5",
        headers={
            "X-Claude-Max-Turns": "2",
            "X-Claude-Disallowed-Tools": "Write,Edit",
            "X-Claude-Max-Thinking-Tokens": "2048",
        },
    )
    assert got["choices"][0]["finish_reason"] == "length"
    assert got["choices"][0]["message"]["content"] == "0\n\n1"
    assert "X-Claude-Max-Turns" in got["x_claude"]["notices"][0]
    assert len(api.turns) == 2 and sorted(api.last.tools) == ["Bash", "Glob", "Grep", "Read"]
    assert api.last.body["thinking"] == {"type": "enabled", "budget_tokens": 2048}


def test_a_search_of_the_web(tooled: Server, api: StandIn) -> None:
    """The CLI's own tool has the API search, in a request of its own."""
    api.push(
        Reply.of(ToolUse("WebSearch", {"query": "tides at Porto"})),
        Reply.of("High at noon, says tides.example."),
        Reply.of("At noon."),
    )
    got = answer(tooled, "When is high tide?", headers={"X-Claude-Allowed-Tools": "WebSearch"})
    assert got["choices"][0]["message"]["content"] == "At noon."
    asked, search, after = api.turns
    assert asked.tools == after.tools == ["WebSearch"]
    assert [tool["type"] for tool in search.body["tools"]] == ["web_search_20250305"]
    assert "tides at Porto" in search.last_user_text
    assert "High at noon, says tides.example." in results(after)[0]
    # The CLI tells of the model's own requests only.
    told = [request.usage for request in (asked, after)]
    assert got["x_claude"]["api_requests"] == 2
    assert got["usage"]["prompt_tokens"] == sum(
        u.input_tokens + u.cache_read_input_tokens + u.cache_creation_input_tokens for u in told
    )


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "haiku"])
def test_no_budget_is_no_thinking(model: str, tooled: Server, api: StandIn) -> None:
    answer(tooled, model=model, headers={"X-Claude-Max-Thinking-Tokens": "0"})
    assert "thinking" not in api.last.body or api.last.body["thinking"]["type"] == "disabled"


def test_plan_mode_changes_no_file(tooled: Server, api: StandIn) -> None:
    target = tooled.home / "workplace" / "planned.txt"
    api.push(Reply.of(ToolUse("Write", {"file_path": str(target), "content": "x"})), Reply.of("Done."))
    answer(tooled, headers={"X-Claude-Permission-Mode": "plan"})
    assert "not allowed here" in results(api.last)[0] and not target.exists()


@pytest.mark.parametrize(
    ("headers", "status", "param"),
    [
        ({"X-Claude-Max-Turns": "0"}, 400, "x-claude-max-turns"),
        ({"X-Claude-Max-Turns": "--print"}, 400, "x-claude-max-turns"),
        ({"X-Claude-Max-Thinking-Tokens": "many"}, 400, "x-claude-max-thinking-tokens"),
        ({"X-Claude-Permission-Mode": "yolo"}, 400, "x-claude-permission-mode"),
        ({"X-Claude-Permission-Mode": "bypassPermissions"}, 403, "x-claude-permission-mode"),
        ({"X-Claude-Allowed-Tools": "Bash,--dangerously-skip-permissions"}, 400, "x-claude-allowed-tools"),
        ({"X-Claude-Allowed-Tools": "Read(//etc/**)"}, 400, "x-claude-allowed-tools"),
        ({"X-Claude-Allowed-Tools": "mcp__nowhere"}, 400, "x-claude-allowed-tools"),
        # More than a command line can take.
        ({"X-Claude-Allowed-Tools": f"Bash({'x' * 199})," * 280}, 400, "x-claude-allowed-tools"),
        ({"X-Claude-Disallowed-Tools": "Nonsense"}, 400, "x-claude-disallowed-tools"),
    ],
)
def test_headers_that_are_refused(
    tooled: Server, api: StandIn, headers: dict[str, str], status: int, param: str
) -> None:
    got = ask(tooled, headers=headers)
    assert (got.status_code, got.json()["error"]["param"]) == (status, param), got.text
    assert got.headers["x-should-retry"] == "false" and api.turns == []


@pytest.mark.parametrize(
    "more",
    [
        {"n": 2},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"response_format": {"type": "json_object"}},
    ],
)
def test_what_can_not_be_had_with_tools(tooled: Server, more: dict[str, Any]) -> None:
    got = ask(tooled, **more)
    assert got.status_code == 400 and got.json()["error"]["param"] == next(iter(more))


def test_headers_without_tools_are_said_to_be_ignored(tooled: Server, api: StandIn) -> None:
    got = ask(tooled, headers={"X-Claude-Max-Turns": "3"}, enable_tools=False)
    assert got.headers["x-ignored-params"] == "x-claude-max-turns"
    assert api.last.tools == []


def test_a_stream_shows_tools_as_they_begin(tooled: Server, api: StandIn) -> None:
    api.push(Reply.of("I look.", ToolUse("Read", {"file_path": "a.txt"})), Reply.of("Done."))
    with ask_stream(tooled) as lines:
        chunks = [json.loads(line) for line in lines if line != "[DONE]"]
    deltas = [c["choices"][0]["delta"] for c in chunks if c["choices"]]
    assert "".join(d.get("content", "") for d in deltas) == "I look.\n\nDone."
    assert "".join(d.get("reasoning_content", "") for d in deltas) == "Read: a.txt\n"
    assert [c["choices"][0]["finish_reason"] for c in chunks if c["choices"]][-1] == "stop"


@contextmanager
def ask_stream(server: Server, **more: Any) -> Iterator[Iterator[str]]:
    body = {"model": "sonnet", "messages": [{"role": "user", "content": "go"}], "enable_tools": True}
    body |= {"stream": True, **more}
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, timeout=PATIENCE) as got:
        assert got.status_code == 200
        yield (line.removeprefix("data: ") for line in got.iter_lines() if line.startswith("data: "))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_when_the_client_leaves_what_a_tool_started_ends_too(tooled: Server, api: StandIn) -> None:
    """The shell of a tool is in a process group of its own, and would outlive the CLI."""
    noted = tooled.home / "workplace" / "pids"
    command = f"echo $$ >> {noted}; (setsid tail -f /dev/null & echo $! >> {noted}); tail -f /dev/null"
    api.push(Reply.of(ToolUse("Bash", {"command": command})))
    with ask_stream(tooled) as lines:
        assert any("Bash: echo" in line for line in lines)
        eventually(lambda: noted.exists() and len(noted.read_text().split()), 2)
        pids = [int(pid) for pid in noted.read_text().split()]
        assert all(map(alive, pids))
    eventually(lambda: any(map(alive, pids)), False)


def test_a_turn_whose_tool_has_begun_is_not_made_again(tooled: Server, api: StandIn) -> None:
    """Nor is the client told to try again: the tool would run twice."""
    api.push(Reply.of(ToolUse("Bash", {"command": "echo once >> done.txt"})), ApiError(529), Reply.of("No."))
    got = ask(tooled)
    assert got.status_code == 503 and got.headers["x-should-retry"] == "false"
    assert (tooled.home / "workplace" / "done.txt").read_text() == "once\n" and len(api.turns) == 2
    api.reset()
    # Before that it is.
    api.push(ApiError(529), Reply.of("Fine."))
    assert answer(tooled)["choices"][0]["message"]["content"] == "Fine."


def test_a_session_with_tools(tooled: Server, api: StandIn) -> None:
    """It goes on from turn to turn, tools and results included, each in a process of its own; and it is of
    one kind. To delete it erases its transcript."""
    api.push(Reply.of(ToolUse("Bash", {"command": "echo first"})), Reply.of("One."), Reply.of("Two."))
    assert answer(tooled, "one", session_id="s")["x_claude"]["session"] == "created"
    assert answer(tooled, "two", session_id="s")["x_claude"]["session"] == "resumed"
    assert [text for _, text in api.last.conversation] == ["one", "One.", "two"]
    assert results(api.last) == ["first"]
    wrong = ask(tooled, "three", session_id="s", enable_tools=False)
    assert wrong.status_code == 400 and wrong.json()["error"]["param"] == "enable_tools"
    ask(tooled, "plain", session_id="t", enable_tools=False)
    assert ask(tooled, "plain", session_id="t").json()["error"]["param"] == "enable_tools"
    transcripts = list((tooled.home / ".claude" / "projects").rglob("*workplace*/*.jsonl"))
    assert len(transcripts) == 1
    assert httpx.delete(f"{tooled.url}/v1/sessions/s").status_code == 200
    assert not transcripts[0].exists()


def test_a_session_goes_on_after_its_turns_ran_out(tooled: Server, api: StandIn) -> None:
    api.push(Reply.of("Try.", ToolUse("Bash", {"command": "echo first"})), Reply.of("Two."))
    first = answer(tooled, "one", session_id="u", headers={"X-Claude-Max-Turns": "1"})
    assert first["choices"][0]["finish_reason"] == "length"
    assert answer(tooled, "two", session_id="u")["choices"][0]["message"]["content"] == "Two."
    assert [text for _, text in api.last.conversation][-1] == "two"


def test_the_list_is_the_clis_own(tooled: Server, api: StandIn) -> None:
    got = httpx.get(f"{tooled.url}/v1/tools").json()
    assert got["total"] == len(got["tools"]) >= 10
    listed = {tool["name"]: tool for tool in got["tools"]}
    assert set(DEFAULT) < set(listed) and "AskUserQuestion" not in listed
    answer(tooled)
    told = {tool["name"]: tool for tool in api.last.body["tools"]}
    for name in DEFAULT:
        assert listed[name]["description"] == told[name]["description"]
        assert listed[name]["parameters"] == told[name]["input_schema"]
    assert listed["Read"]["is_safe"] and not listed["Bash"]["is_safe"]
    assert listed["WebSearch"]["requires_network"]
    stats = httpx.get(f"{tooled.url}/v1/tools/stats").json()
    assert stats["total_tools"] == got["total"] and stats["global_allowed"] == 6
    # As the wrapper's users know them.
    assert set(stats) == {
        *("total_tools", "global_allowed", "global_disallowed", "session_configs", "tool_categories")
    }
    assert set(listed["Read"]) == {
        *("name", "description", "category", "parameters", "examples", "is_safe", "requires_network")
    }
    assert sum(stats["tool_categories"].values()) == got["total"]


def test_choices_are_a_keys_own_and_outlive_the_server(
    claude_bin: Path, api: StandIn, tmp_path: Path
) -> None:
    ours, theirs = ({"Authorization": f"Bearer {key}"} for key in KEYS.values())
    home = tmp_path / "home"
    with serving_tools(home, api, claude_bin, **KEYS, CLAUDE_ALLOW_TOOLS="Read,Bash,Glob") as server:
        url = f"{server.url}/v1/tools/config"
        before = httpx.get(url, headers=ours).json()
        assert set(before) == {
            *("allowed_tools", "disallowed_tools", "effective_tools", "created_at", "updated_at")
        }
        assert before["allowed_tools"] == before["effective_tools"] == ["Read", "Glob", "Bash"]
        chosen = httpx.post(url, headers=ours, json={"allowed_tools": ["Read", "Bash"]}).json()
        assert chosen["effective_tools"] == ["Read", "Bash"] and chosen["created_at"] == chosen["updated_at"]
        special = {"session_id": "s", "disallowed_tools": ["Bash"]}
        assert httpx.post(url, headers=ours, json=special).json()["effective_tools"] == ["Read"]
        for wrong, status in (("Nonsense", 400), ("Write", 403)):
            refused = httpx.post(url, headers=ours, json={"allowed_tools": [wrong]})
            assert refused.status_code == status, refused.text
            assert refused.json()["error"]["param"] == "allowed_tools"
        assert httpx.get(url, headers=theirs).json()["effective_tools"] == ["Read", "Glob", "Bash"]
    environment = clean_environment(
        home,
        api.url,
        **KEYS,
        CLAUDE_BIN=str(claude_bin),
        CLAUDE_ALLOW_TOOLS="Read,Bash,Glob",
        CLAUDE_CWD=str(home / "workplace"),
    )
    with serving(home, environment) as server:
        for headers, more, tools in (
            (ours, {}, ["Bash", "Read"]),
            (ours, {"session_id": "s"}, ["Read"]),
            (theirs, {"session_id": "s"}, ["Bash", "Glob", "Read"]),
        ):
            answer(server, headers=headers, **more)
            assert sorted(api.last.tools) == tools
        assert httpx.get(f"{server.url}/v1/tools/stats", headers=ours).json()["session_configs"] == 1


def test_without_leave_everything_is_a_403(server: Server, api: StandIn) -> None:
    """On a server as it comes."""
    for got in (
        ask(server),
        *(httpx.get(f"{server.url}/v1/tools{path}") for path in ("", "/config", "/stats")),
        httpx.post(f"{server.url}/v1/tools/config", json={}),
    ):
        error = got.json()["error"]
        assert (got.status_code, error["code"]) == (403, "tools_not_allowed")
        assert "CLAUDE_ALLOW_TOOLS" in error["message"]
    assert api.turns == []


def test_an_older_cli(each_cli: Path, api: StandIn, tmp_path: Path) -> None:
    """Tools run, what is refused doesn't hang, and they can be hidden."""
    with serving_tools(tmp_path / "home", api, each_cli, CLAUDE_SHOW_TOOLS="off") as server:
        api.push(
            Reply.of(
                "I look.",
                ToolUse("Bash", {"command": "cat a.txt"}),
                ToolUse("Read", {"file_path": "/etc/passwd"}),
            ),
            Reply.of("Done."),
        )
        message = answer(server)["choices"][0]["message"]
        assert message["content"] == "I look.\n\nDone." and "reasoning_content" not in message
        # In the order in which they ended.
        refused, said = sorted(results(api.last))
        assert said.strip() == "what the file says" and "not allowed here" in refused
