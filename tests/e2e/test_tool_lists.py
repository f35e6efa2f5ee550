"""The list of tools as the real CLI sends it: whole, this turn's alone, and nothing of the CLI's own."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from claude_server.standin import ApiRequest, Reply, StandIn, ToolUse
from tests.conftest import newest_cli, older_cli
from tests.support import (
    BASE_PATH,
    PATIENCE,
    Server,
    abilities_of,
    clean_environment,
    seed_abilities,
    serving,
)

# Versions, and the level that they are used at; the last is the oldest that is taken.
VERSIONS = (("newest", "warm"), ("2.1.197", "keyed"), ("newest", "spawn"), ("2.1.50", "text"))
# Tools of the CLI's own in other versions, some of them from long ago.
OLD_NAMES = """
    Agent AgentOutputTool AskUserQuestion BashOutput Brief Config EnterPlanMode ExitPlanMode Glob
    Grep KillBash KillShell LS LSP ListMcpResourcesTool MultiEdit NotebookRead PowerShell REPL
    ReadMcpResourceTool SendUserMessage SlashCommand StructuredOutput TaskCreate TaskGet TaskList
    TaskOutput TaskUpdate TeamCreate TeamDelete TodoRead TodoWrite ToolSearch computer
    mcp__github__create_issue __proto__ constructor
"""
NEUTRAL = "neutral_name"


def cli_of(version: str) -> Path:
    return newest_cli() if version == "newest" else older_cli(version)


def environment_of(home: Path, api: StandIn, cli: Path, level: str) -> dict[str, str]:
    return clean_environment(home, api.url, CLAUDE_BIN=str(cli), CLAUDE_ENGINE=level)


def tool(name: str, description: str = "does it", **more: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
    function = {"name": name, "description": description, "parameters": schema, **more}
    return {"type": "function", "function": function}


def listed(*tools: dict[str, Any]) -> list[dict[str, Any]]:
    """The tools as the API must get them."""
    functions = [tool["function"] for tool in tools]
    return [
        {"name": f["name"], "description": f["description"], "input_schema": f["parameters"]}
        for f in functions
    ]


def post(server: Server, **body: Any) -> dict[str, Any]:
    body = {"model": "sonnet", "messages": [{"role": "user", "content": "go"}], **body}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def starts(server: Server) -> int:
    workers: Any = server.health()["cli"]["workers"]
    return int(workers["started"])


@pytest.mark.parametrize(("version", "level"), VERSIONS)
def test_tools_reach_the_api_whole(version: str, level: str, api: StandIn, tmp_path: Path) -> None:
    """In the client's order, of any length; a call of one is the client's, and costs one request."""
    cli = cli_of(version)
    long = tool("Bash", "How to use it. " * 700)
    many = [long, *(tool(f"tool_{n}", "d" * 3000) for n in range(60)), tool("a_tool")]
    with serving(tmp_path / "home", environment_of(tmp_path / "home", api, cli, level)) as server:
        for tools in ([long], many, [], [tool("Bash", "short")], [long]):
            api.reset()
            if tools:
                api.push(Reply.of("So", ToolUse("Bash", {"command": "1"}), ToolUse("Bash", {"command": "2"})))
            choice = post(server, **({"tools": tools} if tools else {}))["choices"][0]
            assert api.last.body["tools"] == listed(*tools)
            calls = choice["message"].get("tool_calls") or ()
            assert [json.loads(c["function"]["arguments"])["command"] for c in calls] == ["1", "2"][
                : 2 * len(tools)
            ]
            assert len(api.turns) == 1


def test_a_description_that_changes_costs_no_process(each_cli: Path, api: StandIn, tmp_path: Path) -> None:
    """An agent's that tells the time, say; also where turns without tools, or with others, come between."""
    environment = clean_environment(tmp_path / "home", api.url, CLAUDE_BIN=str(each_cli))
    with serving(tmp_path / "home", environment) as server:
        post(server, tools=[tool("Bash"), tool("look")])
        before = starts(server)
        for number in range(8):
            tools = [tool("Bash", f"It is {number} o'clock.")]
            post(server, tools=tools)
            assert api.last.body["tools"] == listed(*tools)
            if number % 3 == 1:
                post(server)
                assert api.last.body["tools"] == []
            elif number % 3 == 2:
                post(server, tools=[tool(f"other_{number}")])
        # One is kept in reserve, and may only just have been started.
        assert starts(server) - before <= 1 and len(server.claude_processes()) <= 2


def test_a_cli_that_tells_of_tools_itself(each_cli: Path, api: StandIn, tmp_path: Path) -> None:
    """One that doesn't let us replace its list: as it was told of them, and another process where it keeps
    what it was told."""
    home = tmp_path / "home"
    environment = clean_environment(home, api.url, CLAUDE_BIN=str(each_cli))
    seed_abilities(home, str(each_cli), replace(abilities_of(str(each_cli)), tools_in_body=False))
    with serving(home, environment) as server:
        for tools in ([tool("look")], [], [tool("look", "described anew")], [tool("find")]):
            api.reset()
            if tools:
                name = tools[0]["function"]["name"]
                api.push(Reply.of("So", ToolUse(name, {"command": "1"})))
            answer = post(server, **({"tools": tools} if tools else {}))
            assert answer["choices"][0]["finish_reason"] == ("tool_calls" if tools else "stop")
            assert (api.last.body.get("tools") or []) == listed(*tools)
            assert len(api.turns) == 1


def names_of_the_clis_own(cli: Path, api: StandIn, home: Path) -> list[str]:
    """As a plain run with its default tools tells them."""
    environment = {"PATH": BASE_PATH, "HOME": str(home), "ANTHROPIC_API_KEY": "sk-ant-made-up"}
    home.mkdir()
    told = subprocess.run(
        [str(cli), "-p", "--verbose", "--output-format", "stream-json", "hi"],
        env={**environment, "ANTHROPIC_BASE_URL": api.url},
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    ).stdout
    frames = [json.loads(line) for line in told.splitlines()]
    (init,) = [frame for frame in frames if (frame["type"], frame.get("subtype")) == ("system", "init")]
    names: list[str] = init["tools"]
    return names


def body_with(request: ApiRequest, name: str) -> str:
    """A body, for all names alike."""
    body = {key: value for key, value in request.body.items() if key != "metadata"}
    return re.sub(r"toolu_\w+", "toolu", json.dumps(body)).replace(f'"{name}"', f'"{NEUTRAL}"')


def all_names(cli: Path, api: StandIn, home: Path) -> list[str]:
    """The CLI's own and those of other versions."""
    names = [*dict.fromkeys([*names_of_the_clis_own(cli, api, home), *OLD_NAMES.split()])]
    assert "Bash" in names and len(names) > 45
    return names


@pytest.mark.parametrize(("version", "level"), VERSIONS)
def test_names_of_the_clis_own_bring_nothing_with_them(
    version: str, level: str, api: StandIn, tmp_path: Path
) -> None:
    """All in one list of tools, each called before the question and in the answer: the API's body is that of
    as many neutral names."""
    cli = cli_of(version)
    names = all_names(cli, api, tmp_path / "plain")
    neutral = [f"{NEUTRAL}_{number}" for number in range(len(names))]
    bodies = []
    with serving(tmp_path / "home", environment_of(tmp_path / "home", api, cli, level)) as server:
        for each in (neutral, names):
            api.reset()
            api.push(Reply.of("So", *(ToolUse(name, {"command": "x"}) for name in each)))
            calls = [
                {
                    "id": f"toolu_{number}",
                    "type": "function",
                    "function": {"name": name, "arguments": '{"command": "ls", "file_path": "/x"}'},
                }
                for number, name in enumerate(each)
            ]
            messages = [
                {"role": "user", "content": "go"},
                {"role": "assistant", "content": "So", "tool_calls": calls},
                *({"role": "tool", "tool_call_id": call["id"], "content": "done"} for call in calls),
            ]
            choice = post(server, tools=[tool(name) for name in each], messages=messages)["choices"][0]
            assert [call["function"]["name"] for call in choice["message"]["tool_calls"]] == each
            assert len(api.turns) == 1
            body = json.dumps({key: value for key, value in api.last.body.items() if key != "metadata"})
            for number, name in enumerate(each):
                # At the level "text" the call is told in words.
                body = body.replace(f'"{name}"', f'"tool {number}"').replace(
                    f" of {name}: ", f" of {number}: "
                )
            bodies.append(re.sub(r"toolu_\w+", "toolu", body))
    assert bodies[0] == bodies[1]


ONE_BY_ONE = [
    # Where each name is a process of its own, or nearly.
    each if each[1] == "warm" else pytest.param(*each, marks=pytest.mark.long)
    for each in VERSIONS
]


@pytest.mark.parametrize(("version", "level"), ONE_BY_ONE)
def test_a_name_of_the_clis_own_brings_nothing_with_it(
    version: str, level: str, api: StandIn, tmp_path: Path
) -> None:
    """The API's body is that of a neutral name, with a call and its result before the question; and a call
    waits for us."""
    cli = cli_of(version)
    names = all_names(cli, api, tmp_path / "plain")
    call = {"id": "toolu_1", "type": "function"}
    with serving(tmp_path / "home", environment_of(tmp_path / "home", api, cli, level)) as server:
        expected = ""
        for name in (NEUTRAL, *names):
            api.reset()
            api.push(Reply.of(ToolUse(name, {"command": "x"})))
            function = {"name": name, "arguments": '{"command": "ls", "file_path": "/x"}'}
            messages = [
                {"role": "user", "content": "go"},
                {"role": "assistant", "content": "So", "tool_calls": [{**call, "function": function}]},
                {"role": "tool", "tool_call_id": "toolu_1", "content": "done"},
            ]
            choice = post(server, tools=[tool(name)], tool_choice="required", messages=messages)["choices"][0]
            assert choice["message"]["tool_calls"][0]["function"]["name"] == name
            expected = expected or body_with(api.last, name)
            seen = body_with(api.last, name)
            # At the level "text" the call is told in words.
            assert seen.replace(f" of {name}: ", f" of {NEUTRAL}: ") == expected, name
            assert len(api.turns) == 1, name


# Of OData and JSON-LD, and as people write them; two of them alike without what the API refuses.
ODD = ("$filter", "@id", "full name", "full_name", "prénom", "名前", "a/b", "x" * 65)


@pytest.mark.parametrize(("version", "level"), VERSIONS[1:3])
def test_arguments_may_have_any_name(version: str, level: str, api: StandIn, tmp_path: Path) -> None:
    """The API refuses the names: they are others there, in the schema and in calls of the history, and come
    back in the answer's calls. So it is with the schema of an answer."""
    properties: dict[str, Any] = {name: {"type": "string"} for name in ODD}
    properties["b~c"] = {"$ref": "#/properties/a~1b"}
    schema = {"type": "object", "properties": properties, "required": ["@id", "full_name"]}
    odd = tool("find", parameters=schema)
    environment = environment_of(tmp_path / "home", api, cli_of(version), level)
    with serving(tmp_path / "home", environment) as server:

        def calls(request: ApiRequest) -> str | Reply:
            (offered,) = request.body["tools"]
            names = list(offered["input_schema"]["properties"])
            assert offered["input_schema"]["required"] == [names[1], "full_name"]
            assert offered["input_schema"]["properties"][names[-1]]["$ref"] == f"#/properties/{names[6]}"
            values = {name: str(number) for number, name in enumerate(names)}
            return Reply.of("So", ToolUse("find", values, id=f"toolu_{len(api.turns)}"), ToolUse("find", {}))

        api.responder = calls
        expected = {name: str(number) for number, name in enumerate(properties)}
        messages: list[dict[str, Any]] = [{"role": "user", "content": "go"}]
        for _ in range(2):
            message = post(server, tools=[odd], messages=messages)["choices"][0]["message"]
            made = [json.loads(call["function"]["arguments"]) for call in message["tool_calls"]]
            assert made == [expected, {}]
            results = [
                {"role": "tool", "tool_call_id": call["id"], "content": "done"}
                for call in message["tool_calls"]
            ]
            messages += [message, *results]
        if level != "text":
            uses = [
                b
                for m in api.last.messages
                for b in m["content"]
                if isinstance(b, dict) and b["type"] == "tool_use"
            ]
            names = list(api.last.body["tools"][0]["input_schema"]["properties"])
            assert [list(use["input"]) for use in uses] == [names, []]
        api.responder = lambda request: Reply.of(
            ToolUse(request.tools[0], {"value": {"full name": "x", "$id": 1}})
        )
        answer = {
            "type": "object",
            "properties": {"full name": {"type": "string"}},
            "required": ["full name"],
        }
        wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": answer}}
        content = post(server, response_format=wanted)["choices"][0]["message"]["content"]
        assert json.loads(content) == {"full name": "x", "$id": 1}


def test_alternatives_at_the_top_of_a_schema_are_left_out(server: Server, api: StandIn) -> None:
    """The API refuses them; what they say of properties is kept, and the client is told."""
    either = {"anyOf": [{"required": ["a"]}, {"required": ["b"]}], "properties": {"a": {}, "b": {}}}
    found = post(server, tools=[tool("f", parameters={"type": "object", **either})])
    assert api.last.body["tools"][0]["input_schema"] == {"type": "object", "properties": {"a": {}, "b": {}}}
    assert any("'anyOf'" in notice and "'f'" in notice for notice in found["x_claude"]["notices"])


def test_strict_tools_are_told_to_the_api(server: Server, api: StandIn) -> None:
    """Where it takes the schema so; otherwise the tool is offered as any other, and the client is told."""
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    good = tool("f", parameters={**schema, "additionalProperties": False}, strict=True)
    found = post(server, tools=[good, tool("g", parameters=schema, strict=True)])
    assert [t.get("strict") for t in api.last.body["tools"]] == [True, None]
    assert any("'strict'" in notice and "g" in notice for notice in found["x_claude"]["notices"])
