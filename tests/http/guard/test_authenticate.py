"""Who gets in with which key, and what the others are told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from claude_server.configuration.settings import SERVICE
from claude_server.core.model import SessionPlan
from claude_server.http.guard.keyfile import KeyFile
from claude_server.http.guard.keys import KeyLimits, from_settings
from tests.http.guard.application import BEARER, BODY, CHAT, TOKEN, Running, running

OWNER = from_settings("API_KEY", TOKEN).id


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path, api_key=TOKEN, api_keys=("second", "third")) as found:
        yield found


@pytest.mark.parametrize(
    "headers",
    [
        BEARER,
        {"Authorization": f"bearer   {TOKEN} "},
        {"x-api-key": TOKEN},
        {"X-API-Key": "third"},
        {"authorization": "Bearer second"},
        # Some clients send both; one that is good is enough.
        {"authorization": "Bearer not-used", "x-api-key": TOKEN},
        {"authorization": "Basic eDp5", "x-api-key": TOKEN},
    ],
)
async def test_a_good_key(app: Running, headers: dict[str, str]) -> None:
    answer = await app.chat(headers)
    assert answer.status_code == 200
    assert len(app.backend.asked) == 1


WRONG: list[dict[str, str]] = [
    {},
    {"authorization": ""},
    {"authorization": "Bearer"},
    {"authorization": "Bearer "},
    {"authorization": TOKEN},
    {"authorization": f"Basic {TOKEN}"},
    {"authorization": f"Bearer {TOKEN}x"},
    {"authorization": f"Bearer {TOKEN[:-1]}"},
    {"authorization": f"Bearer {TOKEN.upper()}"},
    {"authorization": "Bearer not-used"},
    {"authorization": "Bearer second,third"},
    {"x-api-key": ""},
    {"x-api-key": "wrong"},
    {"api-key": TOKEN},
    {"cookie": f"api_key={TOKEN}"},
]


@pytest.mark.parametrize("headers", WRONG)
async def test_every_other_key_gets_the_same_answer(app: Running, headers: dict[str, str]) -> None:
    answer = await app.chat(headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["x-should-retry"] == "false"
    assert answer.content == (await app.chat()).content
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["code"] == "invalid_api_key"
    assert app.backend.asked == []


async def test_without_a_key_no_path_is_told_from_another(app: Running) -> None:
    async with app.client() as client:
        paths = (
            "/version",
            "/v1/models",
            "/v1/models/x",
            "/v1/sessions",
            "/docs/",
            "/nowhere",
            "/health/x",
            "/health/",
        )
        answers = [await client.get(path) for path in paths]
        answers += [await client.request(method, CHAT) for method in ("GET", "PUT", "DELETE", "OPTIONS")]
        answers += [await client.post("/v1/sessions", content=b"x" * 100_000)]
    assert {(answer.status_code, answer.content) for answer in answers} == {(401, answers[0].content)}
    assert (await app.get("/nowhere", **BEARER)).status_code == 404


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}])
async def test_health_is_open_and_short(app: Running, headers: dict[str, str]) -> None:
    answer = await app.get("/health", **headers)
    assert answer.json() == {"status": "healthy", "service": SERVICE}


async def test_health_is_told_in_full_to_a_key_and_where_there_are_none(app: Running, tmp_path: Path) -> None:
    assert (await app.get("/health", **BEARER)).json()["cli"]["version"] == "2.1.330"
    async with running(tmp_path / "open") as keyless:
        assert (await keyless.get("/health")).json()["cli"]["version"] == "2.1.330"


async def test_without_keys_any_key_will_do(tmp_path: Path) -> None:
    async with running(tmp_path) as keyless:
        for headers in ({}, {"authorization": "Bearer not-used"}):
            assert (await keyless.chat(headers)).status_code == 200
        assert [request.turn.owner for request in keyless.backend.asked] == ["", ""]


async def test_the_file_is_looked_at_again(tmp_path: Path) -> None:
    async with running(tmp_path) as app:
        assert (await app.chat()).status_code == 200
        file = KeyFile(tmp_path)
        token = file.add("ci", KeyLimits())
        assert (await app.chat()).status_code == 401
        assert (await app.chat({"x-api-key": token})).status_code == 200
        file.revoke("ci")
        assert (await app.chat({"x-api-key": token})).status_code == 401
        assert (await app.chat()).status_code == 401


# Whose a turn is


async def test_a_turn_is_its_keys_own(app: Running) -> None:
    for headers in (BEARER, {"x-api-key": "second"}, {"x-api-key": TOKEN}):
        assert (await app.chat(headers)).status_code == 200
    owners = [request.turn.owner for request in app.backend.asked]
    assert owners[0] == owners[2] == OWNER != owners[1] != ""
    assert TOKEN not in "".join(owners)


async def test_a_session_is_its_keys_own(app: Running) -> None:
    name = "5f0c5a3e-8f7e-4a53-9d0e-2b8f1f0c9d11"
    assert (await app.chat(BEARER, session_id=name)).headers["x-claude-session"] == "created"
    assert (await app.chat(BEARER, session_id=name)).headers["x-claude-session"] == "resumed"
    taken = await app.chat({"x-api-key": "second"}, session_id=name)
    assert (taken.status_code, taken.json()["error"]["code"]) == (409, "session_conflict")
    # A name that is no UUID is another session for each key.
    for key in (TOKEN, "second"):
        assert (await app.chat({"x-api-key": key}, session_id="notes")).headers[
            "x-claude-session"
        ] == "created"
    plans = [request.session for request in app.backend.asked[-2:]]
    assert all(isinstance(plan, SessionPlan) for plan in plans) and plans[0] != plans[1]


# Models


@pytest.fixture
async def picky(tmp_path: Path) -> AsyncIterator[tuple[Running, dict[str, str]]]:
    token = KeyFile(tmp_path).add("picky", KeyLimits(models=("sonnet", "claude-x/1")))
    async with running(tmp_path, default_model="sonnet") as found:
        yield found, {"authorization": f"Bearer {token}"}


@pytest.mark.parametrize("model", ["sonnet", "claude-x/1", "default", "", None, "auto"])
async def test_models_that_a_key_may_use(picky: tuple[Running, dict[str, str]], model: str | None) -> None:
    app, headers = picky
    assert (await app.chat(headers, model=model)).status_code == 200


@pytest.mark.parametrize("model", ["opus", "Sonnet", "sonnet[1m]", "claude-x", "claude-x/1 ", "best"])
async def test_models_that_a_key_may_not_use(picky: tuple[Running, dict[str, str]], model: str) -> None:
    app, headers = picky
    for stream in (False, True):
        answer = await app.chat(headers, model=model, stream=stream)
        assert answer.status_code == 404
        error = answer.json()["error"]
        assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert app.backend.asked == []


async def test_a_key_sees_its_models(picky: tuple[Running, dict[str, str]]) -> None:
    app, headers = picky
    listed = [model["id"] for model in (await app.get("/v1/models", **headers)).json()["data"]]
    assert listed == ["default", "auto", "claude", "claude-cli", "sonnet"]
    assert (await app.get("/v1/models/sonnet", **headers)).status_code == 200
    assert (await app.get("/v1/models/opus", **headers)).status_code == 404


async def test_the_default_may_be_withheld(tmp_path: Path) -> None:
    token = KeyFile(tmp_path).add("picky", KeyLimits(models=("sonnet",)))
    async with running(tmp_path, default_model="opus") as app:
        answer = await app.chat({"x-api-key": token}, model="default")
        assert answer.status_code == 404 and "'default'" in answer.json()["error"]["message"]


# Logs


async def test_the_log_names_the_key_and_never_shows_one(tmp_path: Path) -> None:
    token = KeyFile(tmp_path).add("ci", KeyLimits())
    async with running(tmp_path, api_key=TOKEN) as app:
        with structlog.testing.capture_logs() as lines:
            await app.chat({"authorization": f"Bearer {token}"})
            await app.chat(BEARER)
            await app.chat({"x-api-key": "a-wrong-key"})
            await app.get(f"/v1/models?api_key={TOKEN}", **{"x-api-key": "a-wrong-key"})
    said = [line for line in lines if line["event"] == "request"]
    assert [line.get("key") for line in said] == ["ci", "API_KEY", None, None]
    assert [line["outcome"] for line in said] == ["ok", "ok", "invalid_api_key", "invalid_api_key"]
    text = json.dumps(lines, default=str)
    assert not any(secret in text for secret in (token, TOKEN, "a-wrong-key"))
    assert BODY["messages"][0]["content"] not in {str(value) for line in said for value in line.values()}
