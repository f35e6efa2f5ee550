"""HEAD wherever there is GET: the same answer without its body."""

from __future__ import annotations

import httpx

from tests.support import Server


def test_head_is_get_without_a_body(server: Server) -> None:
    document = httpx.get(f"{server.url}/openapi.json").json()
    paths = [path for path, methods in document["paths"].items() if "get" in methods]
    assert {"/health", "/v1/models", "/v1/models/{model_id}"} <= set(paths)
    with httpx.Client(base_url=server.url) as client:
        for path in (*paths, "/", "/docs", "/v1/models/sonnet"):
            whole, head = client.get(path), client.head(path)
            assert (head.status_code, head.content) == (whole.status_code, b""), path
            assert head.headers["content-type"] == whole.headers["content-type"], path


def test_head_where_there_is_no_get(server: Server) -> None:
    answer = httpx.head(f"{server.base_url}/chat/completions")
    assert (answer.status_code, answer.content) == (405, b"")
