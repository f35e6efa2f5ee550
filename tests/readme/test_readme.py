"""What the README and docs/ say: their examples run, their tables and numbers are those of the code."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from fastapi import FastAPI

from claude_server.configuration import settings as config
from claude_server.configuration.fields import default_text
from claude_server.configuration.login import METHODS, detect_login
from claude_server.core import retry
from claude_server.core.errors import QueueFull, RateLimited, TurnError
from claude_server.dialects.base import Dialect
from claude_server.dialects.model_names import PLACEHOLDERS
from claude_server.dialects.table import DIALECTS
from claude_server.engine.processes import argv
from claude_server.http import errors, sse
from claude_server.http.guard import keys as guard_keys
from claude_server.http.guard import rate_limit, refusal
from claude_server.http.guard.protocol import BoundedProtocol
from claude_server.http.model_names import ALIASES
from claude_server.standin import Reply, StandIn, default_reply
from lab.demo import answer
from tests import test_layout
from tests.proxy import Proxy
from tests.readme import document
from tests.readme.document import (
    ARCHITECTURE,
    ENDPOINTS,
    ENGINE,
    ERRORS,
    KEYS,
    LOGIN,
    MIGRATING,
    PAGES,
    PARAMETERS,
    README,
    SESSIONS,
    Block,
    names,
    rows,
    section,
)
from tests.support import BASE_PATH, PATIENCE, ROOT, Server, clean_environment, serving

WRITTEN_URL = "http://127.0.0.1:8765"
NODE_SDK = "7.57.0"
NODE_FOLDER = ROOT / ".cache" / "node"
BLOCKS = [block for page in PAGES for block in document.blocks(page)]
REQUESTS = [block for block in BLOCKS if block.text.startswith("curl ")]
COMMANDS = [
    command
    for block in BLOCKS
    if block.language == "sh" and block not in REQUESTS and block.page != KEYS.name
    for line in block.text.splitlines()
    for command in line.split(" && ")
]


@pytest.fixture
def api(api: StandIn) -> Iterator[StandIn]:
    """The stand-in with the answers of `make demo`, in small pieces."""
    api.responder = lambda request: Reply.of(answer(request.conversation), chunk_chars=4)
    yield api
    api.responder = default_reply


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The folder with the Node SDK, which is installed if it isn't there yet."""
    package = NODE_FOLDER / "node_modules" / "openai" / "package.json"
    if not package.exists() or json.loads(package.read_text())["version"] != NODE_SDK:
        npm = shutil.which("npm")
        assert npm, "the examples for Node need node and npm"
        NODE_FOLDER.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--no-audit", "--no-fund", "--loglevel=error", f"openai@{NODE_SDK}"]
        subprocess.run([*command, "--prefix", str(NODE_FOLDER)], check=True, timeout=5 * PATIENCE)
    return package.parent.parent


def run(command: list[str], home: Path) -> str:
    """What a program prints that ends well and complains of nothing."""
    environment = {"PATH": BASE_PATH, "HOME": str(home), "LANG": "C.UTF-8"}
    ran = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, timeout=PATIENCE)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


class Example:
    """A block of a page, to be run against a server."""

    def __init__(self, block: Block, url: str, home: Path) -> None:
        assert WRITTEN_URL in block.text
        self.text = block.text.replace(WRITTEN_URL, url)
        self._home = home

    def python(self) -> list[str]:
        return run([sys.executable, "-W", "error", "-c", self.text], self._home).splitlines()

    def node(self, node_modules: Path) -> list[str]:
        node = shutil.which("node")
        assert node, "the examples for Node need node"
        (self._home / "node_modules").symlink_to(node_modules)
        file = self._home / "example.mjs"
        file.write_text(self.text, encoding="utf-8")
        return run([node, str(file)], self._home).splitlines()

    def shell(self, text: str | None = None) -> str:
        return run(["bash", "-euc", text or self.text], self._home)


Find = Callable[[str], Example]


@pytest.fixture
def example(watched: Proxy, tmp_path: Path) -> Find:
    """The one block of a section of the README."""

    def detect_login(heading: str) -> Example:
        (block,) = [block for block in document.blocks(README) if block.section == heading]
        return Example(block, watched.url, tmp_path)

    return detect_login


def test_every_block_is_run_or_compared() -> None:
    found = defaultdict(list)
    for block in BLOCKS:
        if block.language != "sh" or block in REQUESTS:
            found[block.page, block.language].append(block.section)
    assert found == {
        ("README.md", "python"): ["Python", "Python, streamed", "Python, a session"],
        ("README.md", "js"): ["Node", "Node, streamed", "Node, a session"],
        ("README.md", "sh"): ["curl", "curl, streamed", "curl, a session", "What else there is"],
        ("README.md", "text"): ["Start"],
        # What it says is done in tests/app/test_wheel.py.
        ("README.md", "console"): ["As an installed program"],
        # What tests/clients/test_codex.py gives to Codex.
        ("clients.md", "toml"): ["Codex"],
        # Compared in tests/deploy.
        ("deploying.md", "console"): [
            *("systemd, for one person", "systemd, for a machine", "Docker", "Docker"),
        ],
        ("keys.md", "json"): ["Rate limits"],
        ("parameters.md", "json"): ["What comes back"],
        ("endpoints.md", "sh"): ["Is my request right?"],
        ("login.md", "sh"): ["Login"],
        ("sessions.md", "sh"): ["Looking at sessions"],
        ("sessions.md", "json"): ["Looking at sessions"],
    }


# The examples


def test_python(example: Find, api: StandIn) -> None:
    said, tokens = example("Python").python()
    assert said == "The capital of Portugal is Lisbon."
    assert re.fullmatch(r"[1-9]\d* prompt tokens", tokens)
    assert api.last.system_texts[-1] == "You are concise."


def test_python_streamed(example: Find, api: StandIn) -> None:
    said, tokens = example("Python, streamed").python()
    assert said == "The capital of Japan is Tokyo."
    assert re.fullmatch(r" [1-9]\d* completion tokens", tokens)
    assert "haiku" in api.last.model


def test_python_session(example: Find, api: StandIn) -> None:
    lines = example("Python, a session").python()
    assert lines[::2] == ["Nice to meet you, Alice. I'll remember that.", "Your name is Alice."]
    read = [turn.usage.cache_read_input_tokens for turn in api.turns]
    assert lines[1::2] == [f"{tokens} tokens read from the cache" for tokens in read]
    assert read[1] > 0
    first = "My name is Alice, and I live in Lisbon."
    assert [said for _, said in api.last.conversation] == [first, lines[0], "What is my name?"]


def test_node(example: Find, api: StandIn, node_modules: Path) -> None:
    assert example("Node").node(node_modules) == ["The capital of Kenya is Nairobi."]


def test_node_streamed(example: Find, api: StandIn, node_modules: Path) -> None:
    assert example("Node, streamed").node(node_modules) == ["The capital of Peru is Lima."]


def test_node_session(example: Find, api: StandIn, node_modules: Path) -> None:
    lines = example("Node, a session").node(node_modules)
    assert lines == ["Nice to meet you, Alice. I'll remember that.", "You live in Lisbon."]
    assert len(api.turns) == 2 and len(api.last.conversation) == 3


def test_curl(example: Find, api: StandIn) -> None:
    body = json.loads(example("curl").shell())
    assert body["choices"][0]["message"]["content"] == "The capital of Norway is Oslo."


def test_curl_streamed(example: Find, api: StandIn) -> None:
    events = example("curl, streamed").shell().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
    texts = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks]
    assert "".join(texts) == "The capital of Egypt is Cairo."
    assert len([text for text in texts if text]) > 1
    assert ["x_claude" in chunk for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


def test_curl_session(example: Find, api: StandIn) -> None:
    shown = example("curl, a session")
    for state, messages in (("created", 1), ("resumed", 3)):
        head, _, body = shown.shell().partition("\n\n")
        assert head.startswith("HTTP/1.1 200 OK") and f"\nx-claude-session: {state}" in head
        assert json.loads(body)["choices"][0]["message"]["content"] == "The capital of Canada is Ottawa."
        assert len(api.last.conversation) == messages


def test_what_else_there_is(example: Find) -> None:
    shown = example("What else there is")
    answers = [json.loads(shown.shell(line)) for line in shown.text.splitlines()]
    models, haiku, health, alive, ready, openapi = answers
    assert (alive["status"], ready["status"]) == ("alive", "ready")
    assert haiku in models["data"] and haiku["id"] == "haiku"
    assert health["status"] == "healthy" and set(health["cli"]) >= {"version", "problem"}
    assert {"/v1/chat/completions", "/v1/models", "/health"} <= set(openapi["paths"])


def test_looking_at_sessions(server: Server, api: StandIn, tmp_path: Path) -> None:
    requests, shown = (block for block in BLOCKS if block.section == "Looking at sessions")
    wanted = json.loads(shown.text)
    body = {"messages": [{"role": "user", "content": "hi"}], "session_id": wanted["session_id"]}
    # Whatever other examples left in it.
    httpx.delete(f"{server.base_url}/sessions/{wanted['session_id']}", timeout=PATIENCE)
    httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=PATIENCE)
    example = Example(requests, server.url, tmp_path)
    listed, stats, looked, deleted = [json.loads(example.shell(x)) for x in example.text.splitlines()]
    (ours,) = [s for s in listed["sessions"] if s["session_id"] == wanted["session_id"]]
    assert shape(ours) == shape(looked) == shape(wanted)
    assert (ours["turns"], ours["message_count"]) == (wanted["turns"], wanted["message_count"])
    assert stats["session_stats"]["active_sessions"] == listed["total"]
    assert deleted == {"message": "Session my notes deleted successfully"}
    life = datetime.fromisoformat(wanted["expires_at"]) - datetime.fromisoformat(wanted["last_accessed"])
    assert life.total_seconds() == config.Settings.model_fields["session_ttl"].default


def test_every_endpoint_is_listed(server: Server) -> None:
    listed = {tuple(names(row[0])[0].split()) for row in rows("Endpoints", ENDPOINTS)}
    document = httpx.get(f"{server.url}/openapi.json").json()
    known = {
        (method.upper(), re.sub(r"\{\w+\}", "{id}", path))
        for path, operations in document["paths"].items()
        for method in operations
    }
    assert listed == known | {("GET", path) for path in ("/", "/docs", "/openapi.json")}


def test_is_my_request_right(server: Server, tmp_path: Path) -> None:
    (block,) = [block for block in BLOCKS if block.section == "Is my request right?"]
    example = Example(block, server.url, tmp_path)
    report, debug = [json.loads(example.shell(line)) for line in example.text.splitlines()]
    assert report["compatibility_report"]["unsupported_parameters"] == ["seed", "logprobs"]
    assert debug["debug_info"]["validation_result"]["valid"] is False
    assert debug["debug_info"]["headers"]["authorization"] == "***"


def test_how_the_cli_logs_in(server: Server, tmp_path: Path) -> None:
    (block,) = [block for block in BLOCKS if block.page == "login.md"]
    found = json.loads(Example(block, server.url, tmp_path).shell())["claude_code_auth"]
    assert (found["method"], found["status"]["valid"]) == ("anthropic", True)
    ways = rows("Login", LOGIN)
    assert set(names(ways[0][0])[1:]) == set(METHODS)
    assert names(ways[0][2]) == list(METHODS.values())
    for decides, _, method in ways[1:5]:
        environ = {names(decides)[0]: "1"}
        subscription = "CLAUDE_USE_SUBSCRIPTION" in environ
        assert detect_login(environ, None, subscription, Path.exists).method == names(method)[0]


# Command lines


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command: str, server: Server, api: StandIn, claude_bin: Path, tmp_path: Path) -> None:
    words = shlex.split(command)
    settings = [word for word in words if re.match(r"[A-Z_]+=", word)]
    program, *arguments = words[len(settings) :]
    # Those of the environment that the lines above made.
    program = program.removeprefix(".venv/bin/")
    if program == "make":
        subprocess.run(["make", "--dry-run", *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    elif program == "python3":
        run([sys.executable, *arguments], tmp_path)
        assert (tmp_path / ".venv" / "bin" / "pip").exists()
    elif program == "pip":
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
        subprocess.run([*pip, *arguments, "--dry-run"], cwd=ROOT, check=True, timeout=PATIENCE)
    elif arguments[:2] == ["claude_api.py", "check"]:
        options = [word.replace(WRITTEN_URL, server.url) for word in arguments[1:]]
        assert "All is right." in run([sys.executable, str(ROOT / arguments[0]), *options], tmp_path)
        assert bool(api.turns) == ("--no-turns" not in options)
    elif arguments[0] == "claude_api.py":
        environment = clean_environment(tmp_path / "home", api.url, CLAUDE_BIN=str(claude_bin))
        environment |= dict(word.split("=", 1) for word in settings)
        with serving(tmp_path / "home", environment, *arguments[1:], "--port", "0") as started:
            assert started.health()["cli"]["problem"] is None
    else:
        assert program == "python" and re.fullmatch(r"\w+_demo\.py", arguments[0])
        script, *options = arguments
        run([sys.executable, str(ROOT / script), *options, "--base-url", server.base_url], tmp_path)
        assert api.turns


def test_the_commands_for_keys(tmp_path: Path) -> None:
    """In their order, on one state folder."""
    said = []
    commands = [block for block in document.blocks(KEYS) if block.language == "sh"]
    for block in commands:
        for line in block.text.splitlines():
            program, *words = shlex.split(line)
            assert program == "python"
            words[0] = str(ROOT / words[0])
            environment = {"HOME": str(tmp_path), "CLAUDE_STATE_DIR": str(tmp_path / "state")}
            ran = subprocess.run(
                [sys.executable, *words], env=environment, cwd=tmp_path, capture_output=True, text=True
            )
            assert ran.returncode == 0, ran.stderr
            said.append(ran.stdout)
    assert all(text.startswith(guard_keys.PREFIX) for text in said[:2])
    assert "laptop" in said[2] and "phone" in said[2] and "no longer works" in said[3]
    assert f"behind `{guard_keys.PREFIX}`" in section("Keys", KEYS)


def test_the_rate_limits() -> None:
    (block,) = [block for block in document.blocks(KEYS) if block.language == "json"]
    shown = json.loads(block.text)
    assert json.loads(bytes(refusal.response(refusal.too_many(shown["error"]["retry_after"])).body)) == shown
    limits = config.Settings(rate_limit_enabled=True).rate_limits or {}
    names_of = {mark.names[0]: name for name, mark, _ in config.setting_fields()}
    for setting, number, routes in rows("Rate limits", KEYS):
        kind = names_of[names(setting)[0]].removeprefix("rate_limit_")
        assert limits.pop(kind) == int(number)
        for path in names(routes):
            counted = rate_limit.route("POST", path)
            assert counted is None if path in ("/livez", "/readyz") else counted and counted[0] == kind
    assert not limits


def test_what_the_start_prints(server: Server) -> None:
    (block,) = [block for block in document.blocks(README) if block.language == "text"]
    lines = block.text.replace(WRITTEN_URL, server.url).splitlines()
    assert server.output[: len(lines)] == lines


# What comes back


def shape(value: Any) -> Any:
    """The keys and types of a JSON value."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    return [shape(inner) for inner in value] if isinstance(value, list) else type(value)


def test_the_answer_that_is_shown(server: Server, api: StandIn) -> None:
    (block,) = [block for block in document.blocks(PARAMETERS) if block.language == "json"]
    shown = json.loads(block.text)
    body = {
        "model": shown["model"],
        "messages": [{"role": "user", "content": "Name the capital of Portugal."}],
        "session_id": "the answer that is shown",
        "temperature": 0.2,
    }
    response = httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=PATIENCE)
    assert shape(response.json()) == shape(shown)
    assert response.json()["x_claude"]["session"] == shown["x_claude"]["session"] == "created"
    usage = shown["usage"]
    assert usage["prompt_tokens"] + usage["completion_tokens"] == usage["total_tokens"]
    details = usage["prompt_tokens_details"]
    assert details["cached_tokens"] == usage["cache_read_input_tokens"]
    assert details["cache_write_tokens"] == usage["cache_creation_input_tokens"]
    assert response.headers["x-ignored-params"] == "temperature"

    headers = {name for name in response.headers if name.startswith(("x-", "openai-"))}
    headers |= {name for name in errors.response(QueueFull("", retry_after=1.0)).headers if "retry" in name}
    assert {name for row in rows("What comes back", PARAMETERS) for name in names(row[0])} == headers


def test_what_the_cli_adds(claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    """With a login, such as a token made up here."""
    text = section("What the CLI adds", ENGINE)
    environment = clean_environment(tmp_path, api.url, CLAUDE_BIN=str(claude_bin))
    del environment["ANTHROPIC_API_KEY"]
    with serving(tmp_path, environment | {"CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-made-up"}) as server:
        say_hi(server)
    (size,) = re.findall(r'whole request for "hi" is then about (\S+) kB', text)
    assert float(size) == pytest.approx(len(api.last.raw) / 1000, rel=0.15)
    assert len(api.last.system_texts) == 2 and "billing" in api.last.system_texts[0]
    assert f'"{api.last.system_texts[1]}"' in text
    assert b"Today's date" in api.last.raw and b"# Environment" in api.last.raw


def test_what_the_cli_adds_with_a_key(server: Server, api: StandIn) -> None:
    say_hi(server)
    (size,) = re.findall(r'"hi" is then (\S+) kB, and', section("What the CLI adds", ENGINE))
    assert float(size) == pytest.approx(len(api.last.raw) / 1000, rel=0.15)
    assert b"Today's date" not in api.last.raw and b"# Environment" not in api.last.raw


def say_hi(server: Server) -> None:
    server.client().chat.completions.create(model="default", messages=[{"role": "user", "content": "hi"}])


# Tables


def test_settings() -> None:
    written = document.written_settings_table()
    assert written == document.settings_table(), "run: python -m tests.readme.document"
    for name, env, field in config.setting_fields():
        (row,) = [line for line in written.splitlines() if line.startswith(f"| `{env.names[0]}`")]
        assert all(f"`{other}`" in row for other in (*env.names, env.option) if other)
        assert field.description and field.description in row and default_text(name, field) in row


def test_models() -> None:
    placeholders, *aliases, full = rows("Models", PARAMETERS)
    assert set(names(placeholders[0])) == PLACEHOLDERS - {""}
    assert {names(name)[0]: meaning for name, meaning in aliases} == ALIASES
    assert full[0].startswith("a full id")


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_parameters(dialect: Dialect[Any]) -> None:
    written = document.written_parameters_table(dialect)
    assert written == document.parameters_table(dialect), "run: python -m tests.readme.document"
    assert set(dialect.request.model_fields) <= set(dialect.rules)


def turn_errors(parent: type[TurnError] = TurnError) -> Iterator[type[TurnError]]:
    """Every kind of error that a turn can end with, as far as clients see it."""
    for kind in parent.__subclasses__():
        try:
            errors.error_mapping(kind(""))
        except LookupError:
            continue
        yield kind
        yield from turn_errors(kind)


# How the guards refuse.
FAILURES = (
    *(refusal.foreign_host("h"), refusal.foreign_client(), refusal.foreign_origin("o")),
    *(refusal.behind_proxy("h"), refusal.repeated_header("h"), refusal.too_many_connections()),
    *(refusal.no_key(), refusal.key_busy(1), refusal.too_many(1.0)),
    *(refusal.not_json(""), refusal.malformed(), refusal.late_head(1.0), refusal.large_head(1, 1)),
)
REFUSALS = tuple(refusal.response(failure) for failure in FAILURES)


async def other_errors() -> list[httpx.Response]:
    """Errors that aren't a turn's, as an application answers them."""
    app = FastAPI()
    errors.install(app)

    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        asked: tuple[tuple[str, str], ...] = (
            ("GET", "/nowhere"),
            ("POST", "/broken"),
            ("GET", "/broken"),
        )
        return [await client.request(method, path) for method, path in asked]


async def test_errors() -> None:
    written = {
        (int(status), names(code)[0], again)
        for statuses, code, again, _ in rows("Errors", ERRORS)
        for status in statuses.split(", ")
    }
    known = {
        (response.status_code, response.json()["error"]["code"], response.headers["x-should-retry"])
        for response in await other_errors()
    }
    for refused in REFUSALS:
        code = json.loads(bytes(refused.body))["error"]["code"]
        known.add((refused.status_code, code, refused.headers["x-should-retry"]))
    for kind in turn_errors():
        found = errors.error_mapping(kind(""))
        known.add((found.status, str(found.code), errors.response(kind("")).headers["x-should-retry"]))
    assert written == known


def test_what_is_said_of_retries() -> None:
    text = section("Errors", ERRORS)
    (sentence,) = re.findall(r"The server has already retried (.*) before it answers", text)
    assert set(names(sentence)) == {
        errors.error_mapping(kind("")).code for kind in turn_errors() if kind.retryable
    }
    assert f"for limits up to {retry.LONGEST_LIMIT:g} s" in sentence
    (longest,) = re.findall(r"Past (\d+) s `x-should-retry` is `false`", text)
    for seconds, again in ((float(longest), "true"), (float(longest) + 1, "false")):
        response = errors.response(RateLimited("", retry_after=seconds))
        assert response.headers["x-should-retry"] == again


# Numbers and links

TIMES = sse.StreamTimings()


@pytest.mark.parametrize(
    ("page", "heading", "says"),
    [
        (README, "Start", f"If port {config.Settings().port} is taken"),
        (PARAMETERS, "Streaming", f"After {TIMES.hold:g} s of silence"),
        (PARAMETERS, "Streaming", f"every {TIMES.ping:g} s of silence"),
        (README, "Limits", f"is accepted is {'.'.join(map(str, argv.OLDEST))}."),
    ],
)
def test_numbers(page: Path, heading: str, says: str) -> None:
    assert says in section(heading, page)


@pytest.mark.parametrize("page", [document.FAULTS, document.SECURITY], ids=lambda page: page.name)
def test_when_a_client_that_takes_nothing_is_cut_off(page: Path) -> None:
    stream, other = TIMES.send, BoundedProtocol.write_timeout
    words = f"takes nothing of a stream for {stream:g} s, or of another answer for {other:g} s, is cut off"
    assert words in page.read_text(encoding="utf-8")


def test_the_length_of_a_session_id(server: Server, api: StandIn) -> None:
    ((least, most),) = re.findall(r"string of (\d+) to (\d+) characters", section("Sessions", SESSIONS))
    for length, status in ((int(least) - 1, 400), (int(most), 200), (int(most) + 1, 400)):
        body = {"messages": [{"role": "user", "content": "hi"}], "session_id": "x" * length}
        response = httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=PATIENCE)
        assert response.status_code == status


def test_the_versions_that_are_tested(server: Server) -> None:
    (listed,) = re.findall(r"The tests run (.*)\.$", section("Limits", README), re.MULTILINE)
    (older,) = re.findall(r"^TEST_CLIS := .*$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    version = re.compile(r"\d+\.\d+\.\d+")
    newest = version.findall(server.output[1])
    wanted = [*version.findall(older), *newest]
    assert version.findall(listed) == wanted, "run: python -m tests.readme.document"


def test_every_engine_is_described() -> None:
    known = get_args(config.Settings.model_fields["engine"].annotation)
    assert known and set(known) <= set(names(section("Levels", ENGINE)))


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_links_lead_somewhere(file: Path) -> None:
    links = re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", file.read_text(encoding="utf-8"))
    for link, anchor in links:
        target = file.parent / link if link else file
        assert target.exists()
        assert not anchor or anchor in document.anchors(target)


# docs/ARCHITECTURE.md


def test_the_layout() -> None:
    """Every place that is there, with the arrows that tests/test_layout.py checks."""
    written = {}
    for place, _, imports in rows("Layout", ARCHITECTURE):
        (name,) = names(place)
        assert (ROOT / name).exists()
        written[name.removesuffix("/").removesuffix(".py").replace("/", ".")] = imports
    assert set(written) == {*test_layout.ARROWS, *test_layout.EVERYTHING}
    for name, imports in written.items():
        if name in test_layout.EVERYTHING:
            assert imports == "everything"
        else:
            assert set(names(imports)) == test_layout.ARROWS[name]


def test_the_files_that_are_named() -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    for name in re.findall(r"`([\w/]+\.py)`", text):
        assert (ROOT / name).exists() or list((ROOT / "claude_server").rglob(name)), name


# docs/migrating.md


def test_the_endpoints_of_the_wrapper(server: Server) -> None:
    """Those that are said to be there are routes, and the others a 404."""
    written = {
        (endpoint, said)
        for endpoints, said in rows("Its endpoints", MIGRATING)
        for endpoint in names(endpoints)
    }
    assert len(written) > 20
    for endpoint, said in written:
        method, path = endpoint.split()
        answer = httpx.request(method, f"{server.url}{path}", timeout=PATIENCE)
        missing = answer.status_code in (404, 405) and "{id}" not in path
        assert missing is said.startswith("not there yet"), endpoint
