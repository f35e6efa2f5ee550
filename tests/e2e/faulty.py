"""A server on the CLI that misbehaves as it is asked to, and requests to it."""

from __future__ import annotations

import itertools
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.invariants import eventually
from tests.support import PATIENCE, ROOT, Server, clean_environment, serving

NOWHERE = "http://127.0.0.1:9"
_words = (f"word{number}" for number in itertools.count(1))


def write_fake(path: Path, mode: str, version: str = "2.1.330") -> None:
    """A `claude` at `path` that behaves as `mode` says. Replaced in one step, as an update would do it."""
    script = (
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        f"open({str(path.with_suffix('.started'))!r}, 'a').write('x')\n"
        f"from tests.fakes.fake_cli import main\nmain({mode!r}, {version!r})\n"
    )
    fresh = path.with_suffix(".new")
    fresh.write_text(script)
    fresh.chmod(0o755)
    fresh.replace(path)


@contextmanager
def serving_fake(folder: Path, mode: str, **more: str) -> Iterator[tuple[Server, Path]]:
    """A server whose CLI behaves as `mode` says, and that CLI's path. Retries are few and quick."""
    fake = folder / "claude"
    write_fake(fake, mode, more.pop("version", "2.1.330"))
    quick = {"CLAUDE_MAX_RETRIES": "1", "CLAUDE_BASE_BACKOFF": "0.01", "CLAUDE_BIN": str(fake)}
    quick["CLAUDE_ENGINE"] = "spawn"
    environment = clean_environment(folder / "home", NOWHERE, **{**quick, **more})
    with serving(folder / "home", environment) as server:
        yield server, fake


def body(question: str, stream: bool = False) -> dict[str, object]:
    return {"model": "x", "messages": [{"role": "user", "content": question}], "stream": stream}


def chat(server: Server, question: str = "hi", stream: bool = False) -> httpx.Response:
    return httpx.post(f"{server.base_url}/chat/completions", json=body(question, stream), timeout=PATIENCE)


def events(text: str) -> list[str]:
    """The data of a stream."""
    return [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]


def failure(status: int, text: str) -> dict[str, str]:
    """The error that an answer is, or that its stream ends with. Checks that this is all that ends it."""
    if status == 200:
        told = events(text)
        assert "[DONE]" not in told and '"finish_reason":"' not in text
        assert sum('"error"' in event for event in told) == 1
        text = told[-1]
    error: dict[str, str] = json.loads(text)["error"]
    assert set(error) >= {"message", "type", "param", "code"} and error["message"]
    return error


def said(status: int, text: str) -> str:
    """What a good answer says, whole or streamed. Checks that it ends well, and once."""
    assert status == 200, text
    if not text.startswith((":", "data: ")):
        (choice,) = json.loads(text)["choices"]
        assert choice["finish_reason"] == "stop"
        return str(choice["message"]["content"])
    *chunks, done = events(text)
    choices = [choice for chunk in chunks for choice in json.loads(chunk)["choices"]]
    assert done == "[DONE]" and [c["finish_reason"] for c in choices if c["finish_reason"]] == ["stop"]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


class Call:
    """A request in a thread of its own, with a word that no other request has."""

    def __init__(self, server: Server, question: str, stream: bool = True) -> None:
        self.word = next(_words)
        self._url = f"{server.base_url}/chat/completions"
        self._body = body(f"{question}#{self.word}", stream)
        self._client = httpx.Client(timeout=PATIENCE)
        self.status = 0
        self.text = ""
        self.headers = httpx.Headers()
        self.begun = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        with self._client, self._client.stream("POST", self._url, json=self._body) as answer:
            self.status, self.headers = answer.status_code, answer.headers
            for piece in answer.iter_text():
                self.text += piece
                self.begun.set()

    def end(self) -> str:
        """All that came."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        return self.text

    @property
    def error(self) -> dict[str, str]:
        text = self.end()
        return failure(self.status, text)

    @property
    def answer(self) -> str:
        text = self.end()
        return said(self.status, text)


def running(server: Server, turns: int, waiting: int = 0) -> None:
    """Wait until so many turns run and so many requests wait."""
    eventually(
        lambda: (server.health()["slots"]["running"], server.health()["queue"]["waiting"]), (turns, waiting)
    )


def readiness(server: Server) -> tuple[int, str]:
    """Status and word of /readyz."""
    answer = httpx.get(f"{server.url}/readyz")
    body = answer.json()
    assert set(body) == {"status", "service"}
    return answer.status_code, body["status"]
