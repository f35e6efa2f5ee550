"""What of the environment a `claude` process may see."""

from __future__ import annotations

import pytest

from claude_server.configuration.child import child_environment, login_variables
from claude_server.configuration.login import Method

COMMON = [
    *("HOME", "PATH", "LANG", "TZ", "USER", "TMPDIR", "LC_ALL", "LC_CTYPE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
    *("http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    *("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "SSL_CERT_DIR", "CLAUDE_CONFIG_DIR"),
    *("ANTHROPIC_BASE_URL", "ANTHROPIC_MODEL", "ANTHROPIC_DEFAULT_SONNET_MODEL"),
]
KEPT_OUT = [
    *("CLAUDECODE", "CLAUDE_CODE_ENTRYPOINT", "CLAUDE_CODE_SSE_PORT", "CLAUDE_BIN", "API_KEY", "API_KEYS"),
    *("OPENAI_API_KEY", "GITHUB_TOKEN", "NODE_OPTIONS", "LD_PRELOAD", "BASH_ENV", "PYTHONPATH", "LC"),
    *("LANGUAGE", "HOMEBREW", "PATHS", "MY_ANTHROPIC_KEY", "Path", "CLAUDE_CODE_MAX_RETRIES"),
    *("ANTHROPIC_FOUNDRY_API_KEY", "ANTHROPIC_AWS_API_KEY", "CLAUDE_AUTH_METHOD", "CLAUDE_USE_SUBSCRIPTION"),
]
OWN: dict[Method, dict[str, str]] = {
    "claude_cli": {"CLAUDE_CODE_OAUTH_TOKEN": "t"},
    "anthropic": {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_AUTH_TOKEN": "t"},
    "bedrock": {
        **{"AWS_REGION": "r", "AWS_SECRET_ACCESS_KEY": "s", "AWS_BEARER_TOKEN_BEDROCK": "b"},
        "ANTHROPIC_BEDROCK_BASE_URL": "u",
    },
    "vertex": {
        **{"CLOUD_ML_REGION": "r", "GOOGLE_APPLICATION_CREDENTIALS": "f", "VERTEX_REGION_CLAUDE_X": "x"},
        **{"ANTHROPIC_VERTEX_PROJECT_ID": "p", "ANTHROPIC_VERTEX_BASE_URL": "u", "GCLOUD_PROJECT": "p"},
    },
}
SWITCHES = {
    "claude_cli": {},
    "anthropic": {},
    "bedrock": {"CLAUDE_CODE_USE_BEDROCK": "1"},
    "vertex": {"CLAUDE_CODE_USE_VERTEX": "1"},
}
EVERY = pytest.mark.parametrize("method", OWN)


@EVERY
@pytest.mark.parametrize("name", COMMON)
def test_what_the_child_may_see(name: str, method: Method) -> None:
    assert child_environment({name: "v"}, method) == {name: "v", **SWITCHES[method]}


@EVERY
@pytest.mark.parametrize("name", KEPT_OUT)
def test_what_the_child_may_not_see(name: str, method: Method) -> None:
    assert child_environment({name: "1"}, method) == SWITCHES[method]


@EVERY
def test_the_chosen_login_gets_its_own_names_and_no_others(method: Method) -> None:
    everything = {name: value for own in OWN.values() for name, value in own.items()}
    everything |= {"CLAUDE_CODE_USE_BEDROCK": "true", "CLAUDE_CODE_USE_VERTEX": "true"}
    found = child_environment({**everything, "PATH": "/bin"}, method)
    assert found == {**OWN[method], **SWITCHES[method], "PATH": "/bin"}
    assert login_variables(found) == sorted({**OWN[method], **SWITCHES[method]})


@pytest.mark.parametrize("method", ["bedrock", "vertex"])
def test_a_gateway_gets_its_token(method: Method) -> None:
    """Where the CLI doesn't log in at the provider, a gateway does, and asks for a token of its own."""
    switch = f"CLAUDE_CODE_SKIP_{method.upper()}_AUTH"
    found = child_environment({switch: "1", "ANTHROPIC_AUTH_TOKEN": "t", "ANTHROPIC_API_KEY": "k"}, method)
    assert found == {switch: "1", "ANTHROPIC_AUTH_TOKEN": "t", **SWITCHES[method]}


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ("X-A: 1", "X-A: 1"),
        ("X-A: 1\nX-B: 2", "X-A: 1\nX-B: 2"),
        ('{"X-A": "1", "anthropic-beta": "x,y"}', "X-A: 1\nanthropic-beta: x,y"),
    ],
)
def test_headers_are_given_as_the_cli_reads_them(given: str, seen: str) -> None:
    found = child_environment({"ANTHROPIC_CUSTOM_HEADERS": given}, "anthropic")
    assert found == {"ANTHROPIC_CUSTOM_HEADERS": seen}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ANTHROPIC_CUSTOM_HEADERS", "{not json"),
        ("ANTHROPIC_CUSTOM_HEADERS", '{"a": "b\\r\\nc"}'),
        ("MAX_THINKING_TOKENS", "many"),
        ("MAX_THINKING_TOKENS", "-1"),
    ],
)
def test_what_the_cli_could_not_read(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}="):
        child_environment({name: value}, "claude_cli")


def test_what_is_empty_is_left_as_it_is() -> None:
    environ = {"ANTHROPIC_CUSTOM_HEADERS": "", "MAX_THINKING_TOKENS": ""}
    assert child_environment(environ, "claude_cli") == environ
    assert child_environment({"MAX_THINKING_TOKENS": " 4096 "}, "vertex")["MAX_THINKING_TOKENS"] == "4096"
