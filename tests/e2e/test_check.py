"""`claude_api.py check`: a good server, none, and servers with one thing wrong."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from claude_server.app.commands.check import CHECKS, main
from claude_server.standin import Reply, StandIn
from tests.support import PATIENCE, Server

Change = Callable[[str, httpx.Response], tuple[int, bytes]]


@pytest.fixture(autouse=True)
def answers(api: StandIn) -> None:
    api.responder = lambda request: Reply.of("hello", chunk_chars=2)


@pytest.fixture(autouse=True)
def every_answer_conforms(complaints: list[str]) -> Iterator[None]:
    """They don't: answers are changed here, and it is for `check` to see that."""
    yield
    complaints.clear()


@contextmanager
def changing(target: str, change: Change) -> Iterator[str]:
    """A proxy that passes everything on but for what `change` makes of an answer."""

    client = httpx.Client(base_url=target, timeout=PATIENCE)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            kept = ("content-type", "authorization", "x-request-id", "x-api-secret")
            headers = {name: value for name in kept if (value := self.headers.get(name))}
            answer = client.request(self.command, self.path, content=body, headers=headers)
            status, content = change(f"{self.command} {self.path}", answer)
            self.send_response(status)
            for name in ("content-type", "x-claude-session", "x-request-id"):
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_DELETE = do_GET

        def log_message(self, format: str, *arguments: Any) -> None: ...

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=proxy.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}"
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()
        client.close()


def lines(capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[str, str]]:
    """Verdict and detail of each line, by the name of its check."""
    printed = capsys.readouterr().out.splitlines()
    found = {}
    for line in printed:
        verdict, name, *detail = re.split(r"\s{2,}", line.strip()) if "  " in line else ("", line)
        found[name] = (verdict, " ".join(detail))
    return found


def test_a_good_server(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--base-url", server.base_url, "--model", "sonnet"]) == 0
    found = lines(capsys)
    assert [found[name][0] for name, _, _ in CHECKS] == ["ok"] * len(CHECKS)
    assert found["POST /v1/chat/completions"][1] == "hello"
    assert "All is right." in found
    # It leaves nothing behind.
    assert httpx.get(f"{server.base_url}/sessions").json()["total"] == 0


def test_without_turns(server: Server, api: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--base-url", server.url, "--no-turns"]) == 0
    assert api.turns == [] and len(lines(capsys)) == len([1 for *_, costs in CHECKS if not costs]) + 1


def test_nothing_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--base-url", "http://127.0.0.1:9"]) == 1
    assert "nothing answers at http://127.0.0.1:9" in capsys.readouterr().out


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1"])
def test_an_address_that_is_none(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--base-url", url])
    assert ended.value.code == 2 and "--base-url" in capsys.readouterr().err


def test_a_key_that_the_server_does_not_ask_for(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--base-url", server.url, "--key", "a-key", "--no-turns"]) == 1
    assert lines(capsys)["API keys"][0] == "FAIL"


@pytest.mark.parametrize(("options", "told"), [([], "give one with --key"), (["--key", "x"], "this key")])
def test_a_server_that_asks_for_a_key(
    options: list[str], told: str, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(asked: str, answer: httpx.Response) -> tuple[int, bytes]:
        return (200, answer.content) if asked == "GET /health" else (401, b"{}")

    with changing(server.url, change) as url:
        assert main(["--base-url", url, *options]) == 1
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith(f"FAIL  {url}") and told in last


def replaced(path: str, old: bytes, new: bytes, status: int | None = None) -> Change:
    def change(asked: str, answer: httpx.Response) -> tuple[int, bytes]:
        if asked != path:
            return answer.status_code, answer.content
        return status or answer.status_code, answer.content.replace(old, new)

    return change


CHAT, DEBUG = "POST /v1/chat/completions", "POST /v1/compatibility, /v1/debug/request"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("GET /health", replaced("GET /health", b'"healthy"', b'"unhealthy"')),
        ("GET /version", replaced("GET /version", b"api_version", b"other")),
        ("GET /v1/models", replaced("GET /v1/models", b'"data"', b'"models"')),
        ("GET /v1/models", replaced("GET /v1/models/no-such-model", b"", b"", 200)),
        ("GET /v1/auth/status", replaced("GET /v1/auth/status", b'"valid":true', b'"valid":false')),
        ("errors", replaced("GET /v1/no-such-path", b'"param"', b'"parameter"')),
        ("errors", replaced(CHAT, b'"code":"invalid_request_error"', b'"no":"code"')),
        ("GET /, /docs, /openapi.json", replaced("GET /openapi.json", b"chat/completions", b"chat")),
        (DEBUG, replaced("POST /v1/debug/request", b"***", b"not-to-be-shown")),
        ("POST /v1/chat/completions", replaced(CHAT, b'"total_tokens":', b'"total_tokens":1')),
        ("POST /v1/chat/completions", replaced(CHAT, b'"finish_reason":"stop"', b'"finish_reason":"length"')),
        ("POST /v1/chat/completions, streamed", replaced(CHAT, b"data: [DONE]\n\n", b"")),
        ("POST /v1/chat/completions, streamed", replaced(CHAT, b"data: {", b"data: [")),
        ("/v1/sessions", replaced("GET /v1/sessions", b'"session_id":"check', b'"session_id":"other')),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_thing_is_wrong(
    server: Server, name: str, change: Change, capsys: pytest.CaptureFixture[str]
) -> None:
    turns = [] if "chat" in name or "sessions" in name else ["--no-turns"]
    with changing(server.url, change) as url:
        assert main(["--base-url", url, *turns]) == 1
    assert lines(capsys)[name][0] == "FAIL"
    assert httpx.get(f"{server.base_url}/sessions").json()["total"] == 0


def test_another_kind_of_server(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """It answers everything with a page."""
    with changing(server.url, lambda asked, answer: (200, b"<html>hello</html>")) as url:
        assert main(["--base-url", url, "--no-turns"]) == 1
    verdicts = {name: verdict for name, (verdict, _) in lines(capsys).items()}
    assert [name for name, verdict in verdicts.items() if verdict == "ok"] == ["API keys", "request ids"]


def test_a_rate_limit_is_no_mistake(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    limited = replaced("POST /v1/debug/request", b"{", b'{"code":"too_many_requests",', 429)
    with changing(server.url, limited) as url:
        assert main(["--base-url", url, "--no-turns"]) == 0
    found = lines(capsys)
    assert found[DEBUG][0] == "skip"
    assert "8 of 9 are right, 1 skipped." in found
