"""Bedrock and Vertex AI on loopback, as the real CLI meets them, in front of the stand-in for the API.

What a test scripts at the stand-in is what the provider answers; `requests` tells how the CLI asked.
"""

from __future__ import annotations

import base64
import json
import re
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from zlib import crc32

import httpx

from tests.support import PATIENCE

_TURN = re.compile(
    r"/model/(?P<bedrock>.+)/invoke-with-response-stream|/.+/models/(?P<vertex>.+):(streamR|r)awPredict"
)


class ToolHeaders(NamedTuple):
    """A request as it came; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]


class Provider:
    """`url` is what ANTHROPIC_BEDROCK_BASE_URL or ANTHROPIC_VERTEX_BASE_URL is set to."""

    def __init__(self, api_url: str) -> None:
        self.requests: list[ToolHeaders] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self._answer()

            def log_message(self, format: str, *arguments: Any) -> None: ...

            def _answer(self) -> None:
                raw = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                provider.requests.append(ToolHeaders(self.command, self.path, headers))
                turn = _TURN.fullmatch(self.path)
                if turn is None:
                    # What Bedrock lists, and a model that is tried out.
                    self._reply(200, b'{"inferenceProfileSummaries":[],"type":"message","content":[]}')
                    return
                model = turn["bedrock"] or turn["vertex"]
                body = {**json.loads(raw), "model": model, "stream": "tream" in self.path}
                body.pop("anthropic_version")
                answer = httpx.post(
                    f"{api_url}/v1/messages", json=body, headers={"x-api-key": "made-up"}, timeout=PATIENCE
                )
                if answer.status_code != 200:
                    self._reply(answer.status_code, json.dumps({"message": "refused"}).encode())
                elif turn["bedrock"]:
                    events = b"".join(map(_frame, _data(answer.text)))
                    self._reply(200, events, "application/vnd.amazon.eventstream")
                else:
                    self._reply(200, answer.content, answer.headers["content-type"])

            def _reply(self, status: int, body: bytes, kind: str = "application/json") -> None:
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def turns(self) -> list[ToolHeaders]:
        """Those that asked a model for an answer."""
        return [asked for asked in self.requests if _TURN.fullmatch(asked.path)]


def _data(stream: str) -> list[str]:
    return [line.removeprefix("data: ") for line in stream.splitlines() if line.startswith("data: ")]


def _frame(event: str) -> bytes:
    """One event in Amazon's framing: lengths, headers, payload, and a checksum behind both halves."""
    payload = json.dumps({"bytes": base64.b64encode(event.encode()).decode()}).encode()
    fields = {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\7" + struct.pack(">H", len(value)) + value.encode()
        for name, value in fields.items()
    )
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    frame = prelude + struct.pack(">I", crc32(prelude)) + headers + payload
    return frame + struct.pack(">I", crc32(frame))


@contextmanager
def provider(api_url: str) -> Iterator[Provider]:
    """One that answers until the end of the block."""
    made = Provider(api_url)
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        thread.join()
        made.server.server_close()
