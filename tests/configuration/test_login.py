"""How the CLI is to log in, and what is missing for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from claude_server.configuration.login import Choice, Login, Method, detect_login

KEY = {"ANTHROPIC_API_KEY": "k"}
BEDROCK = {
    **{"CLAUDE_CODE_USE_BEDROCK": "1", "AWS_REGION": "eu-west-1"},
    **{"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"},
    **{f"ANTHROPIC_DEFAULT_{name}_MODEL": "m" for name in ("SONNET", "OPUS", "HAIKU")},
}
VERTEX = {
    **{"CLAUDE_CODE_USE_VERTEX": "true", "ANTHROPIC_VERTEX_PROJECT_ID": "p", "CLOUD_ML_REGION": "us-east5"},
    "GOOGLE_APPLICATION_CREDENTIALS": "/key.json",
}
ALL = {**KEY, **BEDROCK, **VERTEX}


def found(
    environ: dict[str, str], forced: Choice | None = None, subscription: bool = False, *files: str
) -> Login:
    return detect_login(environ, forced, subscription, lambda path: str(path) in ("/key.json", *files))


@pytest.mark.parametrize(
    ("environ", "forced", "subscription", "method", "chosen_by"),
    [
        ({}, None, False, "claude_cli", ""),
        (KEY, None, False, "anthropic", "ANTHROPIC_API_KEY"),
        ({"ANTHROPIC_AUTH_TOKEN": "t"}, None, False, "anthropic", "ANTHROPIC_AUTH_TOKEN"),
        ({"ANTHROPIC_API_KEY": ""}, None, False, "claude_cli", ""),
        ({"CLAUDE_CODE_USE_BEDROCK": "0", "CLAUDE_CODE_USE_VERTEX": "off"}, None, False, "claude_cli", ""),
        (ALL, None, False, "bedrock", "CLAUDE_CODE_USE_BEDROCK"),
        ({**KEY, **VERTEX}, None, False, "vertex", "CLAUDE_CODE_USE_VERTEX"),
        (ALL, None, True, "claude_cli", "CLAUDE_USE_SUBSCRIPTION"),
        (ALL, "api_key", True, "anthropic", "CLAUDE_AUTH_METHOD"),
        (ALL, "cli", False, "claude_cli", "CLAUDE_AUTH_METHOD"),
        (ALL, "vertex", False, "vertex", "CLAUDE_AUTH_METHOD"),
        (BEDROCK, "bedrock", False, "bedrock", "CLAUDE_AUTH_METHOD"),
    ],
)
def test_the_method(
    environ: dict[str, str], forced: Choice | None, subscription: bool, method: Method, chosen_by: str
) -> None:
    login = found(environ, forced, subscription)
    assert (login.method, login.chosen_by, login.missing) == (method, chosen_by, ())


def test_what_is_set_and_not_used_is_said() -> None:
    assert found(ALL, "cli").notes == (
        "ANTHROPIC_API_KEY is set, but the CLI doesn't get it: CLAUDE_AUTH_METHOD chooses claude_cli",
        "CLAUDE_CODE_USE_BEDROCK is set, but has no effect: CLAUDE_AUTH_METHOD chooses claude_cli",
        "CLAUDE_CODE_USE_VERTEX is set, but has no effect: CLAUDE_AUTH_METHOD chooses claude_cli",
    )
    assert found(KEY).notes == found({}).notes == found(BEDROCK).notes == found(VERTEX).notes == ()
    gateway = {**VERTEX, "CLAUDE_CODE_SKIP_VERTEX_AUTH": "1", "ANTHROPIC_AUTH_TOKEN": "t"}
    assert found(gateway).notes == ()


def test_what_bedrock_costs_at_a_start_is_said() -> None:
    without = {name: value for name, value in BEDROCK.items() if "OPUS" not in name}
    (note,) = found(without).notes
    assert "ANTHROPIC_DEFAULT_OPUS_MODEL" in note and "one token" in note
    assert found({**without, "CLAUDE_CODE_SKIP_BEDROCK_AUTH": "1"}).notes == ()


def named(login: Login) -> list[str]:
    """The variables that are said to be missing."""
    return [sentence.split()[0] for sentence in login.missing]


@pytest.mark.parametrize(
    ("forced", "missing"),
    [
        ("cli", []),
        ("api_key", ["ANTHROPIC_API_KEY"]),
        ("bedrock", ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]),
        (
            "vertex",
            ["ANTHROPIC_VERTEX_PROJECT_ID", "CLOUD_ML_REGION", "GOOGLE_APPLICATION_CREDENTIALS"],
        ),
    ],
)
def test_each_missing_variable_is_named(forced: Choice, missing: list[str]) -> None:
    assert named(found({"HOME": "/h"}, forced)) == missing


REGION = {"AWS_REGION": "r", "HOME": "/h"}


@pytest.mark.parametrize(
    ("environ", "files", "missing"),
    [
        (REGION, [], ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]),
        ({**REGION, "AWS_ACCESS_KEY_ID": "a"}, ["/h/.aws/config"], ["AWS_SECRET_ACCESS_KEY"]),
        (REGION, ["/h/.aws/credentials"], []),
        (REGION, ["/h/.aws/config"], []),
        ({**REGION, "AWS_SHARED_CREDENTIALS_FILE": "/c"}, ["/c"], []),
        ({**REGION, "AWS_PROFILE": "p"}, [], []),
        ({**REGION, "AWS_BEARER_TOKEN_BEDROCK": "b"}, [], []),
        ({**REGION, "CLAUDE_CODE_SKIP_BEDROCK_AUTH": "1"}, [], []),
        ({"AWS_DEFAULT_REGION": "r", "AWS_PROFILE": "p"}, [], []),
    ],
)
def test_credentials_of_aws(environ: dict[str, str], files: list[str], missing: list[str]) -> None:
    assert named(found(environ, "bedrock", False, *files)) == missing


PROJECT = {"ANTHROPIC_VERTEX_PROJECT_ID": "p", "CLOUD_ML_REGION": "r", "HOME": "/h"}
OF_GCLOUD = "application_default_credentials.json"


@pytest.mark.parametrize(
    ("environ", "files", "missing"),
    [
        (PROJECT, [], ["GOOGLE_APPLICATION_CREDENTIALS"]),
        (PROJECT, [f"/h/.config/gcloud/{OF_GCLOUD}"], []),
        ({**PROJECT, "CLOUDSDK_CONFIG": "/g"}, [f"/g/{OF_GCLOUD}"], []),
        ({**PROJECT, "GOOGLE_APPLICATION_CREDENTIALS": "/gone"}, [], ["GOOGLE_APPLICATION_CREDENTIALS"]),
        ({**PROJECT, "CLAUDE_CODE_SKIP_VERTEX_AUTH": "1"}, [], []),
    ],
)
def test_credentials_of_google(environ: dict[str, str], files: list[str], missing: list[str]) -> None:
    login = found(environ, "vertex", False, *files)
    assert named(login) == missing
    assert not any("/gone" in sentence for sentence in login.missing) or "isn't there" in login.missing[0]


def test_files_are_looked_for_by_their_path() -> None:
    asked: list[Path] = []

    def exists(path: Path) -> bool:
        asked.append(path)
        return False

    detect_login(REGION, "bedrock", False, exists)
    assert asked == [Path("/h/.aws/credentials"), Path("/h/.aws/config")]
