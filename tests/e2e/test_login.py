"""Ways to log in, with the real CLI: which variables reach it, and what it does with them."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from claude_server.standin import ApiError, ApiRequest, Reply, StandIn
from tests.provider import provider
from tests.support import PATIENCE, Server, clean_environment, serving

SECRETS = ("sk-ant-made-up", "made-up-oauth", "made-up-aws-secret", "made-up-gateway-token")
AWS = {
    **{"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "AKIAMADEUP"},
    "AWS_SECRET_ACCESS_KEY": "made-up-aws-secret",
}
VERTEX = {"ANTHROPIC_VERTEX_PROJECT_ID": "a-project", "CLOUD_ML_REGION": "europe-west1"}


def environment(home: Path, api: StandIn, claude_bin: Path, **more: str) -> dict[str, str]:
    return clean_environment(
        home,
        api.url,
        **{"CLAUDE_BIN": str(claude_bin), "CLAUDE_MAX_RETRIES": "0", "CLAUDE_CODE_OAUTH_TOKEN": SECRETS[1]},
        **more,
    )


def ask(server: Server, text: str = "hi", **more: Any) -> httpx.Response:
    body = {"model": "default", "messages": [{"role": "user", "content": text}], **more}
    return httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=PATIENCE)


def fail(status: int, request: ApiRequest) -> ApiError:
    return ApiError(status)


def status(server: Server) -> dict[str, Any]:
    answer = httpx.get(f"{server.base_url}/auth/status", timeout=PATIENCE)
    assert answer.status_code == 200
    assert not any(secret in answer.text for secret in SECRETS)
    body: dict[str, Any] = answer.json()
    return body


def test_bedrock(claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with provider(api.url) as bedrock:
        more = {**AWS, "CLAUDE_CODE_USE_BEDROCK": "true", "ANTHROPIC_BEDROCK_BASE_URL": bedrock.url}
        with serving(home, environment(home, api, claude_bin, **more)) as server:
            assert any("one token of several models" in line for line in server.output)
            # So it does: the start says so, and how to spare it.
            assert any(asked.path.endswith("/invoke") for asked in bedrock.requests)
            api.responder = lambda request: Reply.of("Hello from Bedrock.")
            for system in ("Be kind.", "Be brief."):
                messages = [{"role": "system", "content": system}, {"role": "user", "content": "hi"}]
                answer = ask(server, messages=messages)
                assert answer.json()["choices"][0]["message"]["content"] == "Hello from Bedrock."
                assert api.last.system_texts[-1] == system
            asked = bedrock.turns[-1]
            assert asked.path.startswith("/model/eu.anthropic.claude-")
            assert "Credential=AKIAMADEUP/" in asked.headers["authorization"]
            assert "/eu-west-1/bedrock/" in asked.headers["authorization"]
            assert "x-api-key" not in asked.headers
            streamed = ask(server, model="haiku", stream=True)
            assert "Hello from Bedrock." in streamed.text and "[DONE]" in streamed.text
            assert "haiku" in bedrock.turns[-1].path

            found = status(server)["claude_code_auth"]
            assert (found["method"], found["status"]["valid"], found["status"]["errors"]) == (
                *("bedrock", True),
                [],
            )
            assert found["environment_variables"] == sorted(
                {*AWS, "ANTHROPIC_BASE_URL", "ANTHROPIC_BEDROCK_BASE_URL", "CLAUDE_CODE_USE_BEDROCK"}
            )
            for refused, expected in ((429, 429), (529, 503), (403, 503)):
                # Some are asked again by the CLI, in other words.
                api.responder = functools.partial(fail, refused)
                assert ask(server).status_code == expected
            # A 403 may be about the model alone.
            assert status(server)["claude_code_auth"]["status"]["valid"]


def test_vertex(claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    """Behind a gateway that logs in at Google by itself, and asks for a token."""
    home = tmp_path / "home"
    with provider(api.url) as vertex:
        more = {**VERTEX, "CLAUDE_CODE_USE_VERTEX": "true", "ANTHROPIC_VERTEX_BASE_URL": vertex.url}
        more |= {"CLAUDE_CODE_SKIP_VERTEX_AUTH": "1", "ANTHROPIC_AUTH_TOKEN": SECRETS[3]}
        more |= {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "credentials.json")}
        with serving(home, environment(home, api, claude_bin, **more)) as server:
            api.responder = lambda request: Reply.of("Hello from Vertex.")
            assert ask(server).json()["choices"][0]["message"]["content"] == "Hello from Vertex."
            asked = vertex.turns[-1]
            assert asked.path.startswith("/projects/a-project/locations/europe-west1/publishers/anthropic/")
            assert asked.headers["authorization"] == f"Bearer {SECRETS[3]}"
            assert "x-api-key" not in asked.headers
            # Without the gateway it would log in with these.
            for process in server.claude_processes():
                seen = Path(f"/proc/{process}/environ").read_text().split("\0")
                assert f"GOOGLE_APPLICATION_CREDENTIALS={tmp_path / 'credentials.json'}" in seen
            found = status(server)["claude_code_auth"]
            assert (found["method"], found["status"]["valid"]) == ("vertex", True)
            api.responder = lambda request: ApiError(404)
            refused = ask(server)
            assert refused.json()["error"]["code"] == "model_not_found", refused.text


def test_what_is_missing_is_named_and_no_turn_is_tried_twice(
    claude_bin: Path, api: StandIn, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    more = {"CLAUDE_AUTH_METHOD": "bedrock", "CLAUDE_MAX_RETRIES": "5", "AWS_EC2_METADATA_DISABLED": "true"}
    with serving(home, {**environment(home, api, claude_bin), **more}) as server:
        names = ("AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        found = status(server)["claude_code_auth"]["status"]
        assert not found["valid"] and [error.split()[0] for error in found["errors"]] == list(names)
        assert all(any(line.startswith(f"{name} is not set") for line in server.output) for name in names)
        refused = ask(server)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "cli_not_ready")
        assert "AWS credentials" in refused.json()["error"]["message"]
        assert (
            status(server)["claude_code_auth"]["status"]["errors"][-1] == refused.json()["error"]["message"]
        )


def test_the_subscription_is_used_though_there_is_a_key(
    claude_bin: Path, api: StandIn, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    with serving(home, environment(home, api, claude_bin, CLAUDE_USE_SUBSCRIPTION="true")) as server:
        assert any(line.startswith("ANTHROPIC_API_KEY is set, but") for line in server.output)
        assert ask(server).status_code == 200
        assert "x-api-key" not in api.last.headers and "authorization" in api.last.headers
        assert status(server) == {
            "claude_code_auth": {
                "method": "claude_cli",
                "status": {
                    "method": "claude_cli",
                    "valid": True,
                    "errors": [],
                    "config": {
                        "chosen_by": "CLAUDE_USE_SUBSCRIPTION",
                        "login": "CLAUDE_CODE_OAUTH_TOKEN",
                        "cli_version": server.health()["cli"]["version"],
                    },
                },
                "environment_variables": ["ANTHROPIC_BASE_URL", "CLAUDE_CODE_OAUTH_TOKEN"],
            },
            "server_info": {
                "api_key_required": False,
                "api_key_source": "none",
                "version": server.health()["version"],
            },
        }


def test_a_key_headers_and_a_thinking_budget(claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    home = tmp_path / "home"
    more = {
        "ANTHROPIC_CUSTOM_HEADERS": '{"X-Team": "blue", "X-Other": "1"}',
        **{"MAX_THINKING_TOKENS": "2048", "API_KEY": "a-key-for-the-clients"},
    }
    with serving(home, environment(home, api, claude_bin, **more)) as server:
        with httpx.Client(headers={"x-api-key": more["API_KEY"]}, timeout=PATIENCE) as client:
            body = {"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": "hi"}]}
            assert client.post(f"{server.base_url}/chat/completions", json=body).status_code == 200
            found = client.get(f"{server.base_url}/auth/status").json()
        # Its value is not kept by the stand-in.
        assert "x-api-key" in api.last.headers and "authorization" not in api.last.headers
        assert (api.last.headers["x-team"], api.last.headers["x-other"]) == ("blue", "1")
        assert api.last.body["thinking"] == {"type": "enabled", "budget_tokens": 2048}
        assert found["claude_code_auth"]["method"] == "anthropic"
        assert found["server_info"]["api_key_source"] == "environment"
        assert found["server_info"]["api_key_required"] is True


@pytest.mark.parametrize("sources", ["", "user"])
def test_the_clis_own_settings(claude_bin: Path, api: StandIn, tmp_path: Path, sources: str) -> None:
    """`~/.claude/settings.json` counts where the operator says so, and not otherwise."""
    home = tmp_path / "home"
    (home / ".claude").mkdir(parents=True)
    settings = {"env": {"ANTHROPIC_CUSTOM_HEADERS": "X-Team: of the settings"}}
    (home / ".claude" / "settings.json").write_text(json.dumps(settings))
    with serving(home, environment(home, api, claude_bin, CLAUDE_SETTING_SOURCES=sources)) as server:
        assert ask(server).status_code == 200
    assert api.last.headers.get("x-team") == ("of the settings" if sources else None)


def test_a_login_that_comes_later_is_seen(claude_bin: Path, api: StandIn, tmp_path: Path) -> None:
    """Without a turn, so without tokens."""
    home = tmp_path / "home"
    made = environment(home, api, claude_bin)
    for name in ("ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"):
        del made[name]
    with serving(home, made) as server:
        before = status(server)["claude_code_auth"]["status"]
        assert not before["valid"] and "claude auth login" in before["errors"][0]
        token = {"accessToken": "sk-ant-oat01-made-up", "refreshToken": "sk-ant-ort01-made-up"}
        oauth = {**token, "expiresAt": 4_000_000_000_000, "scopes": ["user:inference", "user:profile"]}
        (home / ".claude").mkdir(exist_ok=True)
        credentials = {"claudeAiOauth": {**oauth, "subscriptionType": "max"}}
        (home / ".claude" / ".credentials.json").write_text(json.dumps(credentials))
        after = status(server)["claude_code_auth"]["status"]
        assert after["valid"] and after["config"]["login"] == "claude.ai Claude Max"
        assert api.turns == []
