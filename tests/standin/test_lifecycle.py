"""Starting and closing the stand-in inside somebody else's process."""

from __future__ import annotations

import gc
import logging
import socket
import threading
import time
from typing import Any

import httpx
import pytest

from claude_server.standin import Cut, Silence, StandIn

STREAM: dict[str, Any] = {
    "model": "m",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hello"}],
    "stream": True,
}


def test_closing_ends_everything() -> None:
    before = threading.active_count()
    api = StandIn()
    assert repr(api) == "<StandIn not running <RequestLog seen=0 turns=0 kept=0>>"
    with api, httpx.Client(base_url=api.url, headers={"x-api-key": "k"}) as client:
        assert repr(api) == f"<StandIn {api.url} <RequestLog seen=0 turns=0 kept=0>>"
        with pytest.raises(RuntimeError, match="already running"):
            api.start()
        url = api.url
        api.push(Silence(chars=1), Silence())
        errors: list[BaseException] = []

        def read() -> None:
            try:
                client.post("/v1/messages", json=STREAM)
            except httpx.HTTPError as error:
                errors.append(error)

        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        api.wait_for_turns(2)
        api.close()
        for thread in threads:
            thread.join()
    assert len(errors) == 2
    assert [r.outcome for r in api.turns] == ["stopped", "stopped"]
    assert threading.active_count() == before
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)
    api.close()
    gc.collect()


def test_closing_in_the_middle_of_an_upload() -> None:
    with StandIn() as api:
        host, port = api.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as sock:
            sock.sendall(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf")
            httpx.get(f"{api.url}/")
            begun = time.monotonic()
            api.close()
            assert time.monotonic() - begun < 4
            assert sock.recv(100) == b""
    assert [r.path for r in api.requests] == ["/"]


def test_it_can_be_started_again_and_on_a_given_port(api: StandIn) -> None:
    port = int(api.url.rsplit(":", 1)[1])
    with pytest.raises(OSError, match="in use"), StandIn(port=port):
        pytest.fail("two stand-ins on one port")
    api.close()
    again = StandIn(port=port)
    for _ in range(2):
        with again:
            assert httpx.head(again.url).status_code == 404
    assert again.requests_seen == 2


def test_a_guest_leaves_the_loggers_of_the_process_alone(caplog: pytest.LogCaptureFixture) -> None:
    names = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger.level, logger.handlers[:], logger.propagate) for logger in loggers]
    with caplog.at_level(logging.DEBUG), StandIn() as api:
        api.push(Cut())
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.post(f"{api.url}/v1/messages", json=STREAM, headers={"x-api-key": "k"})
    assert [(logger.level, logger.handlers[:], logger.propagate) for logger in loggers] == before
    assert [r for r in caplog.records if r.name.startswith("uvicorn")] == []
