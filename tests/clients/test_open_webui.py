"""Open WebUI's backend, with this server as its OpenAI connection; without what it has for documents."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from claude_server.standin import Reply, StandIn
from tests.clients.environments import interpreter
from tests.clients.program import environment
from tests.proxy import Proxy
from tests.support import PATIENCE

START = 2 * PATIENCE


def settings(home: Path, proxy: Proxy) -> dict[str, str]:
    return {
        **environment(home, proxy),
        # As its own command sets it: files and database below DATA_DIR.
        "FROM_INIT_PY": "true",
        "DATA_DIR": str(home / "data"),
        "WEBUI_SECRET_KEY": "made-up",
        "WEBUI_AUTH": "False",
        "OPENAI_API_BASE_URL": f"{proxy.url}/v1",
        "ENABLE_OLLAMA_API": "False",
        # No models of its own to fetch.
        "OFFLINE_MODE": "True",
        "RAG_EMBEDDING_ENGINE": "openai",
    }


@pytest.fixture(scope="module")
def webui(shared_proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of the backend, signed in."""
    home = tmp_path_factory.mktemp("webui")
    (home / "data").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listening, (home / "log").open("w") as log:
        command = [str(interpreter("openwebui")), "-m", "uvicorn", "open_webui.main:app"]
        process = subprocess.Popen(
            [*command, "--fd", str(listening.fileno())],
            cwd=home,
            env=settings(home, shared_proxy),
            pass_fds=[listening.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        try:
            with httpx.Client(base_url=url, timeout=PATIENCE, trust_env=False) as client:
                wait_until_up(client, process, home / "log")
                nobody = {"email": "", "password": ""}
                token = client.post("/api/v1/auths/signin", json=nobody).raise_for_status().json()["token"]
                client.headers["Authorization"] = f"Bearer {token}"
                yield client
        finally:
            process.kill()
            process.wait()


def wait_until_up(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if client.get("/health", timeout=START).status_code == 200:
                return
    pytest.fail(f"it doesn't start:\n{log.read_text()}")


def test_open_webui_lists_the_models(webui: httpx.Client) -> None:
    listed = webui.get("/api/models").raise_for_status().json()["data"]
    assert {"default", "sonnet", "haiku"} <= {model["id"] for model in listed}


def ask(**more: Any) -> dict[str, Any]:
    return {"model": "sonnet", "messages": [{"role": "user", "content": "Where is Lisbon?"}], **more}


def test_open_webui_chats(webui: httpx.Client, api: StandIn) -> None:
    api.push("In Portugal.")
    answer = webui.post("/api/chat/completions", json=ask(stream=False)).raise_for_status().json()
    assert answer["choices"][0]["message"]["content"] == "In Portugal."
    assert api.last.conversation == [("user", "Where is Lisbon?")]


def test_open_webui_streams(webui: httpx.Client, api: StandIn) -> None:
    api.push(Reply.of("In Portugal, by the sea.", chunk_chars=5))
    answer = webui.post("/api/chat/completions", json=ask(stream=True)).raise_for_status()
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    chunks = [json.loads(event) for event in events if event != "[DONE]"]
    texts = [c["delta"].get("content") or "" for chunk in chunks for c in chunk.get("choices", ())]
    assert "".join(texts) == "In Portugal, by the sea."


def test_open_webui_makes_a_title(webui: httpx.Client, api: StandIn) -> None:
    """What it asks beside each chat, with words of its own around it."""
    api.push('{"title": "Lisbon"}')
    answer = webui.post("/api/v1/tasks/title/completions", json=ask()).raise_for_status().json()
    assert json.loads(answer["choices"][0]["message"]["content"]) == {"title": "Lisbon"}
    assert "Where is Lisbon?" in api.last.last_user_text
