"""MCP servers: the operator names and connects them, the real CLI uses them, and none is left running."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import httpx

from claude_server.standin import Reply, StandIn, ToolUse
from tests.e2e.test_cli_tools import KEYS, alive, answer, ask, results, serving_tools
from tests.invariants import eventually
from tests.support import PATIENCE, Server, clean_environment, serving

OPERATOR, OTHER = ({"Authorization": f"Bearer {key}"} for key in KEYS.values())
# Speaks MCP by hand, and notes its process id and what it sees of the environment.
PROGRAM = """
import json, os, sys
with open(sys.argv[1], "a") as file:
    file.write(json.dumps([os.getpid(), sorted(os.environ)]) + "\\n")
LISTS = {"tools": [{"name": n, "description": n, "inputSchema": {"type": "object"}} for n in ("add", "sub")],
         "resources": [{"uri": "note://a", "name": "a"}], "prompts": []}
for line in sys.stdin:
    message = json.loads(line)
    method, result = message.get("method", ""), {}
    if "id" not in message:
        continue
    if method == "initialize":
        result = {"protocolVersion": message["params"]["protocolVersion"],
                  "capabilities": {"tools": {}, "resources": {}},
                  "serverInfo": {"name": "test", "version": "1"}}
    elif method.endswith("/list") and method.split("/")[0] in LISTS:
        result = {method.split("/")[0]: LISTS[method.split("/")[0]]}
    elif method == "tools/call":
        result = {"content": [{"type": "text", "text": "42 from " + os.environ.get("FLAVOUR", "?")}]}
    elif method != "ping":
        error = {"code": -32601, "message": "no such method"}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}), flush=True)
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""


def program(folder: Path, flavour: str) -> dict[str, Any]:
    """How a server is named; its runs are noted in `folder`/runs."""
    (folder / "mcp_server.py").write_text(PROGRAM)
    args = [str(folder / "mcp_server.py"), str(folder / "runs")]
    return {"command": sys.executable, "args": args, "env": {"FLAVOUR": flavour}}


def runs(folder: Path) -> list[tuple[int, list[str]]]:
    return [tuple(json.loads(line)) for line in (folder / "runs").read_text().splitlines()]


def post(server: Server, path: str, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/mcp/{path}", json=body, headers=OPERATOR, timeout=PATIENCE)


def listed(server: Server) -> dict[str, dict[str, Any]]:
    found = httpx.get(f"{server.url}/v1/mcp/servers", headers=OPERATOR).json()
    return {named["name"]: named for named in found["servers"]}


def test_registered_connected_used_and_still_there(claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    home, named = tmp_path / "home", program(tmp_path, "api")
    more = {"CLAUDE_ALLOW_MCP": "on", "NO_PROXY": "127.0.0.1", "SSL_CERT_DIR": "/nowhere"}
    with serving_tools(home, api, claude_bin, **KEYS, **more) as server:
        for path in ("servers", "stats"):
            refused = httpx.get(f"{server.url}/v1/mcp/{path}", headers=OTHER)
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "operator_only")
        assert post(server, "servers", {"name": "a b", **named}).status_code == 400
        done = post(server, "servers", {"name": "calc", "description": "counts", **named})
        assert done.json() == {"message": "MCP server 'calc' registered successfully"}
        assert listed(server)["calc"] == {
            **{"name": "calc", "command": sys.executable, "args": named["args"], "description": "counts"},
            **{"enabled": True, "connected": False, "url": ""},
            **{"tools_count": 0, "resources_count": 0, "prompts_count": 0},
        }
        answer(server, headers=OPERATOR)
        assert not [name for name in api.last.tools if name.startswith("mcp__")]
        assert post(server, "disconnect", {"server_name": "calc"}).status_code == 404
        assert post(server, "connect", {"server_name": "nobody"}).status_code == 404
        connected = post(server, "connect", {"server_name": "calc"})
        assert connected.json() == {
            "message": "Connected to MCP server 'calc'",
            **{"tools": 2, "resources": 1, "prompts": 0},
        }
        api.push(Reply.of("I count.", ToolUse("mcp__calc__add", {"a": 1})), Reply.of("Done."))
        # A key that isn't the operator's may use it.
        message = answer(server, headers=OTHER)["choices"][0]["message"]
        assert results(api.last) == ["42 from api"] and message["content"] == "I count.\n\nDone."
        assert {"mcp__calc__add", "mcp__calc__sub", "Bash"} <= set(api.last.tools)
        only = {**OTHER, "X-Claude-Allowed-Tools": "Read"}
        answer(server, headers=only)
        assert api.last.tools == ["Read"]
    assert not [pid for pid, _ in runs(tmp_path) if alive(pid)]
    # To be looked at, and in a turn: the same of our environment.
    assert len(runs(tmp_path)) == 2
    for _, seen in runs(tmp_path):
        assert {"FLAVOUR", "NO_PROXY", "SSL_CERT_DIR", "PATH", "LANG"} <= set(seen)
        assert not {"ANTHROPIC_API_KEY", "API_KEY", "CLAUDE_CONFIG_DIR"} & set(seen)
    # After a restart it is connected again, until it is not to be.
    environment = clean_environment(home, api.url, **KEYS, CLAUDE_BIN=str(claude_bin))
    environment |= {"CLAUDE_ALLOW_TOOLS": "on", "CLAUDE_CWD": str(home / "workplace")}
    with serving(home, environment) as server:
        answer_when_connected(server, "calc")
        done = post(server, "disconnect", {"server_name": "calc"})
        assert done.json() == {"message": "Disconnected from MCP server 'calc'"}
        assert not listed(server)["calc"]["connected"]
        refused = post(server, "servers", {"name": "calc", **named})
        assert refused.status_code == 403 and "CLAUDE_ALLOW_MCP" in refused.json()["error"]["message"]


def test_what_a_server_leaves_ends_with_ours(claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    """A program that it puts into a session of its own, where the end of its group doesn't reach it."""
    noted = tmp_path / "left"
    start = f"setsid sleep 600 </dev/null >/dev/null 2>&1 & echo $! > {noted}; exec "
    named = program(tmp_path, "api")
    words = " ".join([named["command"], *named["args"]])
    with serving_tools(tmp_path / "home", api, claude_bin, CLAUDE_ALLOW_MCP="on") as server:
        post(server, "servers", {"name": "calc", "command": "sh", "args": ["-c", start + words]})
        assert post(server, "connect", {"server_name": "calc"}).status_code == 200
        assert alive(int(noted.read_text()))
    assert not alive(int(noted.read_text()))


def answer_when_connected(server: Server, name: str) -> None:
    eventually(lambda: listed(server)[name]["connected"], True)


def test_a_file_names_servers(each_cli: Path, api: StandIn, tmp_path: Path) -> None:
    """They are connected at the start; one that doesn't answer is said, and harms nothing."""
    file = tmp_path / "servers.json"
    broken = {"command": "/nowhere/at/all"}
    file.write_text(json.dumps({"mcpServers": {"calc": program(tmp_path, "file"), "broken": broken}}))
    with serving_tools(tmp_path / "home", api, each_cli, CLAUDE_MCP_CONFIG=str(file)) as server:
        answer_when_connected(server, "calc")
        server.wait_for_line("an MCP server can't be connected")
        stats = httpx.get(f"{server.url}/v1/mcp/stats").json()
        assert (stats["registered_servers"], stats["connected_servers"]) == (2, 1)
        assert (stats["total_tools"], stats["total_resources"], stats["mcp_available"]) == (2, 1, True)
        assert stats["servers"] == list(listed(server).values())
        failed = post(server, "connect", {"server_name": "broken"})
        assert (failed.status_code, failed.json()["error"]["code"]) == (502, "mcp_failed")
        api.push(Reply.of(ToolUse("mcp__calc__sub", {})), Reply.of("Done."))
        answer(server, headers={"X-Claude-Allowed-Tools": "mcp__calc__sub"})
        assert results(api.last) == ["42 from file"]
        refused = ask(server, headers={"X-Claude-Allowed-Tools": "mcp__broken"})
        assert refused.status_code == 400
    assert not [pid for pid, _ in runs(tmp_path) if alive(pid)]
    for _, seen in runs(tmp_path):
        assert "ANTHROPIC_API_KEY" not in seen
