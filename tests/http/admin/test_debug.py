"""POST /v1/debug/request and /v1/compatibility over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest

from claude_server.app.main import create_app
from claude_server.configuration.settings import Settings
from claude_server.http.guard.keyfile import KeyFile
from claude_server.http.guard.keys import KeyLimits
from tests.support import IdleBackend

GOOD = {"model": "sonnet", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def client(tmp_path: Path) -> AsyncGenerator[httpx.AsyncClient, None]:
    app = create_app(Settings(state_dir=tmp_path), IdleBackend())
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as made,
    ):
        made.headers["content-type"] = "application/json"
        yield made


async def debugged(client: httpx.AsyncClient, body: bytes, **headers: str) -> dict[str, Any]:
    answer = await client.post("/v1/debug/request", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    (info,) = answer.json().values()
    assert list(info) == [
        *("headers", "method", "url", "raw_body", "json_parse_error", "parsed_body", "validation_result"),
        *("debug_mode_enabled", "example_valid_request"),
    ]
    found: dict[str, Any] = info
    return found


async def test_a_good_request(client: httpx.AsyncClient) -> None:
    info = await debugged(client, json.dumps(GOOD).encode(), **{"content-type": "application/json"})
    assert info["parsed_body"] == GOOD == json.loads(info["raw_body"])
    assert info["validation_result"] == {"valid": True, "validated_data": GOOD, "errors": None}
    assert (info["method"], info["json_parse_error"], info["debug_mode_enabled"]) == ("POST", None, False)
    assert info["url"] == "http://127.0.0.1/v1/debug/request"
    assert info["headers"]["content-type"] == "application/json"


async def test_the_example_is_a_good_request(client: httpx.AsyncClient) -> None:
    example = (await debugged(client, b"{}"))["example_valid_request"]
    info = await debugged(client, json.dumps(example).encode())
    assert info["validation_result"]["valid"] is True


async def test_no_secret_comes_back(client: httpx.AsyncClient) -> None:
    names = (
        *("Authorization", "x-api-key", "Cookie", "Proxy-Authorization", "X-Auth-Token", "anthropic-api-key"),
        "X-Amz-Security-Token",
    )
    answer = await client.post("/v1/debug/request", json=GOOD, headers=dict.fromkeys(names, "s3cret"))
    assert "s3cret" not in answer.text
    shown = answer.json()["debug_info"]["headers"]
    assert {shown[name.lower()] for name in names} == {"***"}


@pytest.mark.parametrize(
    ("body", "field", "kind"),
    [
        (b'{"messages": 5}', "messages", "list_type"),
        (b"[]", "", "model_type"),
        (b'{"messages": [{"role": "user", "content": 7}]}', "messages.0.content", "string_type"),
        (
            json.dumps({**GOOD, "web_search_options": {}}).encode(),
            "web_search_options",
            "unsupported_parameter",
        ),
        (json.dumps({**GOOD, "tool_choice": "required"}).encode(), "tool_choice", "value_error"),
    ],
)
async def test_what_is_wrong(client: httpx.AsyncClient, body: bytes, field: str, kind: str) -> None:
    info = await debugged(client, body)
    result = info["validation_result"]
    assert (result["valid"], result["validated_data"], info["json_parse_error"]) == (False, None, None)
    first = result["errors"][0]
    assert set(first) == {"field", "message", "type", "input"}
    assert (first["field"], first["type"]) == (field, kind)


@pytest.mark.parametrize("body", [b"", b"{not json", b'{"a": NaN}', b"\xff\xfe", b"[" * 5000, b'"\\ud800"'])
async def test_what_is_no_json(client: httpx.AsyncClient, body: bytes) -> None:
    info = await debugged(client, body)
    assert info["parsed_body"] is None and info["json_parse_error"]
    assert info["validation_result"]["valid"] is False
    refused = await client.post("/v1/compatibility", content=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_request_error")


async def test_compatibility(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/compatibility", json={**GOOD, "seed": 7})
    body = answer.json()
    assert set(body) == {"compatibility_report", "claude_agent_sdk_options"}
    assert body["compatibility_report"]["supported_parameters"] == ["model", "messages"]
    assert body["compatibility_report"]["unsupported_parameters"] == ["seed"]
    assert (await client.post("/v1/compatibility", json=[])).status_code == 400


@pytest.mark.parametrize("path", ["/v1/debug/request", "/v1/compatibility"])
async def test_a_body_that_is_too_large(tmp_path: Path, path: str) -> None:
    app = create_app(Settings(state_dir=tmp_path, max_request_size=2000), IdleBackend())
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        too_large = await client.post(path, content=b" " * 2001, headers={"content-type": "application/json"})
        assert too_large.status_code == 413


async def test_a_model_that_the_key_may_not_use(tmp_path: Path) -> None:
    app = create_app(Settings.model_validate({"state_dir": tmp_path, "api_key": "x" * 40}), IdleBackend())
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client,
    ):
        client.headers["x-api-key"] = KeyFile(tmp_path).add("a", KeyLimits(models=("haiku",)))
        asked = await client.post("/v1/chat/completions", json=GOOD)
        assert asked.status_code == 404
        message = asked.json()["error"]["message"]
        debugged = (await client.post("/v1/debug/request", json=GOOD)).json()["debug_info"]
        error = {"field": "model", "message": message, "type": "value_error", "input": "sonnet"}
        assert debugged["validation_result"] == {"valid": False, "validated_data": None, "errors": [error]}
        told = (await client.post("/v1/compatibility", json=GOOD)).json()["compatibility_report"]
        assert (told["supported_parameters"], told["unsupported_parameters"]) == (["messages"], ["model"])
        assert told["warnings"] == [f"'model' is refused: {message}"] and "404" in told["suggestions"][0]
        allowed = {**GOOD, "model": "haiku"}
        debugged = (await client.post("/v1/debug/request", json=allowed)).json()["debug_info"]
        assert debugged["validation_result"]["valid"] is True


async def test_compatibility_tells_what_the_route_does(tmp_path: Path) -> None:
    """Not what the table says alone: settings and the request itself have a say too."""
    settings = Settings(state_dir=tmp_path, sampling_models=("sonnet",))
    transport = httpx.ASGITransport(create_app(settings, IdleBackend()))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:

        async def told(**fields: Any) -> dict[str, Any]:
            answer = await client.post("/v1/compatibility", json={**GOOD, **fields})
            found: dict[str, Any] = answer.json()["compatibility_report"]
            return found

        assert (await told(temperature=0.5))["unsupported_parameters"] == []
        assert (await told(temperature=0.5, model="opus"))["unsupported_parameters"] == ["temperature"]
        many = await told(n=9)
        assert many["unsupported_parameters"] == ["n"] and "above 8" in many["warnings"][0]
        tools = await told(enable_tools=True)
        assert tools["unsupported_parameters"] == ["enable_tools"] and "403" in tools["suggestions"][0]
        shape = await told(model=5)
        assert shape["unsupported_parameters"] == ["model"] and "must be a string" in shape["warnings"][0]
