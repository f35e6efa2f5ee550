"""A proxy on loopback between a client and the server: it keeps what was asked, and passes on the rest.

The answers come through httpx, so they are checked like all others (`tests.tap`). It is also the proxy that a
client is given for the outside world: what goes there is refused, and kept in `outside`.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from tests.support import PATIENCE

_OF_ONE_HOP = {"connection", "keep-alive", "transfer-encoding", "host", "content-length"}


@dataclass(frozen=True)
class Sent:
    """A request as the client sent it; `body` is {} if it has none."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class Proxy(ThreadingHTTPServer):
    """`target`: the server's URL, without a path."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = target
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.client = httpx.Client(timeout=PATIENCE, trust_env=False)
        self.sent: list[Sent] = []
        self.outside: list[str] = []

    @property
    def chats(self) -> list[dict[str, Any]]:
        """The bodies of the chat requests."""
        return [sent.body for sent in self.sent if sent.path == "/v1/chat/completions"]

    def clear(self) -> None:
        self.sent.clear()
        self.outside.clear()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Proxy

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: standard error belongs to pytest."""

    def do_CONNECT(self) -> None:
        self.server.outside.append(self.path)
        self.send_error(403)

    def do_GET(self) -> None:
        self._pass_on(b"")

    do_DELETE = do_GET

    def do_POST(self) -> None:
        self._pass_on(self.rfile.read(int(self.headers["content-length"])))

    def _pass_on(self, body: bytes) -> None:
        if not self.path.startswith("/"):
            self.server.outside.append(self.path)
            self.send_error(403)
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _OF_ONE_HOP}
        self.server.sent.append(Sent(self.command, self.path, headers, json.loads(body) if body else {}))
        url = f"{self.server.target}{self.path}"
        with (
            # A client that leaves ends the request to the server too.
            contextlib.suppress(ConnectionError, httpx.RemoteProtocolError),
            self.server.client.stream(self.command, url, content=body, headers=headers) as answer,
        ):
            self._answer(answer)
            return
        self.close_connection = True

    def _answer(self, answer: httpx.Response) -> None:
        self.send_response(answer.status_code)
        for name, value in answer.headers.multi_items():
            if name not in _OF_ONE_HOP:
                self.send_header(name, value)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for data in answer.iter_raw():
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.write(b"0\r\n\r\n")


@contextlib.contextmanager
def proxying(target: str) -> Iterator[Proxy]:
    """A proxy for a while."""
    with Proxy(target) as proxy, proxy.client:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
