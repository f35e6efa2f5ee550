"""The wheel: what is in it, and what a person gets who installs it into an empty environment."""

from __future__ import annotations

import email
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from claude_server.configuration.settings import VERSION
from claude_server.standin import StandIn
from tests.support import PATIENCE, ROOT, Server, clean_environment

UV = Path(sys.executable).parent / "uv"


def run(*command: object, **options: object) -> str:
    ran = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)  # type: ignore[call-overload]
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return str(ran.stdout)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    run(
        UV, "build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable, "-o", out, ROOT
    )
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with the wheel and its dependencies in it, and nothing else."""
    venv = tmp_path_factory.mktemp("empty") / "venv"
    run(UV, "venv", "--quiet", "--python", sys.executable, venv)
    run(UV, "pip", "install", "--quiet", "--python", venv / "bin" / "python", wheel)
    return venv / "bin"


@pytest.fixture
def server(installed: Path, claude_bin: Path, api: StandIn, tmp_path: Path) -> Iterator[Server]:
    """`claude-api`, outside the checkout."""
    environment = clean_environment(tmp_path, api.url, CLAUDE_BIN=str(claude_bin))
    server = Server(tmp_path, environment, command=[str(installed / "claude-api"), "--port", "0"])
    yield server
    assert server.stop() == 0


def test_its_only_name_is_the_packages(wheel: Path) -> None:
    names = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert names == {"claude_server", f"claude_api_server-{VERSION}.dist-info"}


def ask(server: Server, **more: object) -> str:
    body = {"model": "default", "messages": [{"role": "user", "content": "A name, please."}], **more}
    answer = httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def test_it_serves(server: Server) -> None:
    assert ask(server) == "You said: A name, please."


def test_an_answer_is_checked_in_a_process(server: Server) -> None:
    """A long schema: the process that checks the answer finds the package."""
    described = {"type": "string", "description": "A name. " * 10_000}
    schema = {"type": "object", "properties": {"name": described}, "required": ["name"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}
    assert json.loads(ask(server, response_format=wanted)).keys() == {"name"}


def test_its_commands(server: Server, installed: Path, claude_bin: Path, tmp_path: Path) -> None:
    environment = clean_environment(tmp_path / "other", server.url, CLAUDE_BIN=str(claude_bin))
    claude_api = installed / "claude-api"
    assert run(claude_api, "--version", env=environment) == f"claude-api {VERSION}\n"
    told = json.loads(run(claude_api, "doctor", "--json", env=environment, timeout=PATIENCE))
    assert (told["ready"], told["engine"], told["problem"]) == (True, "warm", None)
    assert "usage: claude-api keys" in run(claude_api, "keys", "--help", env=environment)
    said = run(claude_api, "check", "--base-url", server.url, env=environment, timeout=2 * PATIENCE)
    assert "POST /v1/chat/completions, streamed" in said


def test_uvx_runs_it(wheel: Path, tmp_path: Path) -> None:
    """Without an installation, from its own folder of tools."""
    tools = {"UV_TOOL_DIR": str(tmp_path / "tools"), "UV_PYTHON": sys.executable}
    environment = {**clean_environment(tmp_path, "http://127.0.0.1:9"), **index_settings(), **tools}
    command = [UV, "tool", "run", "--quiet", "--from", wheel, "claude-api", "--version"]
    assert run(*command, env=environment, timeout=PATIENCE) == f"claude-api {VERSION}\n"


def index_settings() -> dict[str, str]:
    """How this machine reaches its index of packages, and where it keeps what it fetched."""
    kept = ("UV_", "PIP_", "SSL_", "XDG_CACHE_HOME")
    cache = run(UV, "cache", "dir").strip()
    return {name: value for name, value in os.environ.items() if name.startswith(kept)} | {
        "UV_CACHE_DIR": cache
    }


def test_the_lists_of_packages_are_one(wheel: Path) -> None:
    """requirements.txt is for those who clone: what the package needs, and what its demos need."""
    with zipfile.ZipFile(wheel) as archive:
        metadata = email.message_from_bytes(archive.read(f"claude_api_server-{VERSION}.dist-info/METADATA"))
    needed: dict[str, set[str]] = {"": set(), "demos": set(), "redis": set()}
    for line in metadata.get_all("Requires-Dist", []):
        package, _, extra = line.partition("; extra == ")
        needed[extra.strip("'\"")].add(package)
    assert wanted("requirements.txt") == {plain(line) for line in needed[""] | needed["demos"]}
    assert {plain(line) for line in needed["redis"]} <= wanted("requirements-dev.txt")


def wanted(file: str) -> set[str]:
    """The packages that a file of requirements names."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / file).read_text().splitlines()]
    return {plain(line) for line in lines if line and not line.startswith("-r")}


def plain(line: str) -> str:
    """A requirement with its limits in alphabetical order, as the wheel's metadata has them."""
    name = re.match(r"[\w.-]+", line)
    assert name is not None
    return f"{name[0]} {sorted(line[name.end() :].replace(' ', '').split(','))}"
