"""One server for all clients, a proxy in front of it, and the clients' own programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from claude_server.standin import StandIn
from tests.clients.environments import NODE
from tests.clients.program import Program
from tests.proxy import Proxy, proxying
from tests.support import Server, clean_environment, serving

Start = Callable[[str, str], Program]


@pytest.fixture(scope="session")
def server(
    claude_bin: Path, shared_api: StandIn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    environment = clean_environment(home, shared_api.url, CLAUDE_BIN=str(claude_bin), CLAUDE_MAX_RETRIES="0")
    with serving(home, environment) as running:
        yield running


@pytest.fixture(scope="session")
def shared_proxy(server: Server, complaints: list[str]) -> Iterator[Proxy]:
    with proxying(server.url) as running:
        yield running


@pytest.fixture(autouse=True)
def proxy(shared_proxy: Proxy, api: StandIn) -> Iterator[Proxy]:
    """The proxy, emptied. Nothing but the server may have been asked for."""
    shared_proxy.clear()
    yield shared_proxy
    assert shared_proxy.outside == []


@pytest.fixture(scope="session")
def start(shared_proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts a program of a group; the same one is started once."""
    programs: dict[tuple[str, str], Program] = {}

    def started(group: str, name: str) -> Program:
        if (group, name) not in programs:
            programs[group, name] = Program(group, name, tmp_path_factory.mktemp("client"), shared_proxy)
        return programs[group, name]

    yield started
    for program in programs.values():
        program.stop()


@pytest.fixture(params=["python", "node"])
def openai(request: pytest.FixtureRequest, start: Start) -> Program:
    return start("openai", "with_openai.py") if request.param == "python" else start(NODE, "with_openai.mjs")
