"""The stand-in, the real CLI in two versions, and the real server between them."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from claude_server.standin import StandIn
from tests import support
from tests.invariants import Invariants
from tests.proxy import Proxy, proxying
from tests.support import PATIENCE, ROOT, Server, clean_environment, serving
from tests.tap import tapped

OLDER = "2.1.197"


def newest_cli() -> Path:
    """The CLI in the wheel of claude-agent-sdk."""
    found = importlib.util.find_spec("claude_agent_sdk")
    assert found is not None and found.origin is not None, "run the tests with: make test"
    return Path(found.origin).parent / "_bundled" / "claude"


def older_cli(version: str = OLDER) -> Path:
    """A CLI that `make test` put into .cache."""
    path = ROOT / ".cache" / "cli" / version / "node_modules" / ".bin" / "claude"
    assert path.exists(), "run the tests with: make test"
    return path


# Whose tests start servers. They go first: a long file that begins last runs alone.
_SLOW_ROOMS = ("app", "deploy", "e2e", "examples", "fuzz", "lab", "readme", "standin")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.relative_to(ROOT / "tests").parts[0] not in _SLOW_ROOMS)


@pytest.fixture(scope="session", autouse=True)
def one_self_test_for_all_processes(tmp_path_factory: pytest.TempPathFactory) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        # Each worker's own folder is one in that of the run.
        support.shared_folder = tmp_path_factory.getbasetemp().parent


@pytest.fixture(scope="session")
def complaints() -> Iterator[list[str]]:
    """What is wrong with the answers that were read from the server, by the openai SDK's own types."""
    with tapped() as found:
        yield found


@pytest.fixture(autouse=True)
def every_answer_conforms(complaints: list[str]) -> Iterator[None]:
    yield
    found = complaints.copy()
    complaints.clear()
    assert found == []


@pytest.fixture(scope="session")
def claude_bin() -> Path:
    return newest_cli()


@pytest.fixture(scope="session", params=["newest", OLDER])
def each_cli(request: pytest.FixtureRequest) -> Path:
    """The newest CLI, then an older one whose injected history differs on the wire."""
    return newest_cli() if request.param == "newest" else older_cli(request.param)


@pytest.fixture(scope="session")
def shared_api() -> Iterator[StandIn]:
    with StandIn() as running:
        yield running


@pytest.fixture
def api(shared_api: StandIn) -> Iterator[StandIn]:
    """The stand-in, emptied; a responder that failed fails the test."""
    shared_api.reset()
    yield shared_api
    failures = [*shared_api.failures]
    # What is left of a script must not answer the next module's server.
    shared_api.reset()
    assert failures == []


@pytest.fixture(scope="module")
def server(
    claude_bin: Path, shared_api: StandIn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server that a module's tests share, with the newest CLI and quick retries."""
    home = tmp_path_factory.mktemp("home")
    environment = clean_environment(
        home, shared_api.url, CLAUDE_BIN=str(claude_bin), CLAUDE_BASE_BACKOFF="0.05", CLAUDE_MAX_RETRIES="2"
    )
    with serving(home, environment) as running:
        yield running


@pytest.fixture(scope="module")
def invariants(server: Server, shared_api: StandIn) -> Invariants:
    """Of the server that a module's tests share, after a first turn."""
    body = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]}
    url = f"{server.base_url}/chat/completions"
    assert httpx.post(url, json=body, timeout=PATIENCE).status_code == 200
    return Invariants(server)


@pytest.fixture
def unharmed(invariants: Invariants) -> Iterator[None]:
    """What must hold of the shared server, checked after the test. For tests whose clients close."""
    yield
    invariants.check()


@pytest.fixture(scope="module")
def watched(server: Server, complaints: list[str]) -> Iterator[Proxy]:
    """The server for a client in a process of its own: what it gets is checked, too."""
    with proxying(server.url) as running:
        yield running
