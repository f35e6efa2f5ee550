"""What of the environment a `claude` process may see."""

from __future__ import annotations

import pytest

from configuration.child import child_environment

ALLOWED = [
    *("HOME", "PATH", "LANG", "TZ", "USER", "TMPDIR", "LC_ALL", "LC_CTYPE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
    *("http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    *("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("CLAUDE_CONFIG_DIR", "CLAUDE_CODE_OAUTH_TOKEN"),
    *("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "ANTHROPIC_BEDROCK_BASE_URL"),
]
KEPT_OUT = [
    *("CLAUDECODE", "CLAUDE_CODE_ENTRYPOINT", "CLAUDE_CODE_SSE_PORT", "CLAUDE_BIN", "API_KEY", "API_KEYS"),
    *("OPENAI_API_KEY", "GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "GOOGLE_CLOUD_PROJECT"),
    *("CLOUD_ML_REGION", "VERTEX_REGION_X", "NODE_OPTIONS", "LD_PRELOAD", "BASH_ENV", "PYTHONPATH", "LC"),
    *("LANGUAGE", "HOMEBREW", "PATHS", "MY_ANTHROPIC_KEY", "Path", "CLAUDE_CODE_MAX_RETRIES"),
]


@pytest.mark.parametrize("name", ALLOWED)
def test_what_the_child_may_see(name: str) -> None:
    assert child_environment({name: "v"}) == {name: "v"}


@pytest.mark.parametrize("name", KEPT_OUT)
def test_what_the_child_may_not_see(name: str) -> None:
    assert child_environment({name: "1"}) == {}


BEDROCK = {"AWS_REGION": "r", "AWS_SECRET_ACCESS_KEY": "s"}
VERTEX = {"CLOUD_ML_REGION": "r", "GOOGLE_APPLICATION_CREDENTIALS": "f", "VERTEX_REGION_CLAUDE": "x"}


@pytest.mark.parametrize("on", ["1", "true", " Yes "])
@pytest.mark.parametrize(
    ("switch", "own"), [("CLAUDE_CODE_USE_BEDROCK", BEDROCK), ("CLAUDE_CODE_USE_VERTEX", VERTEX)]
)
def test_a_provider_gets_its_own_names_when_it_is_chosen(switch: str, own: dict[str, str], on: str) -> None:
    assert child_environment({**BEDROCK, **VERTEX, switch: on}) == {**own, switch: on}


@pytest.mark.parametrize("off", ["", "0", "false"])
def test_a_provider_that_is_off(off: str) -> None:
    environ = {**BEDROCK, **VERTEX, "CLAUDE_CODE_USE_BEDROCK": off, "CLAUDE_CODE_USE_VERTEX": off}
    assert child_environment(environ) == {}
