"""What of our own environment a `claude` process may see.

All else (tokens of other tools, shell settings, the CLAUDECODE of a surrounding session) stays out. So do
the secrets of every way to log in but the chosen one.
"""

from __future__ import annotations

from collections.abc import Mapping

from claude_server.configuration.login import (
    BEDROCK,
    KEYS,
    SKIP_BEDROCK,
    SKIP_VERTEX,
    VERTEX,
    Method,
    behind_gateway,
    custom_headers,
)

_NAMES = frozenset(
    {
        *("HOME", "PATH", "LANG", "TZ", "USER", "TMPDIR", "CLAUDE_CONFIG_DIR", "MAX_THINKING_TOKENS"),
        *("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "SSL_CERT_DIR"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
        *("http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    }
)
_PREFIXES = ("LC_", "ANTHROPIC_")
# Beginnings of names that belong to one way to log in.
_OWN: Mapping[Method, tuple[str, ...]] = {
    "claude_cli": ("CLAUDE_CODE_OAUTH_TOKEN",),
    "anthropic": KEYS,
    "bedrock": ("AWS_", "ANTHROPIC_BEDROCK_", SKIP_BEDROCK),
    "vertex": (
        *("CLOUD_ML_REGION", "GOOGLE_", "GCLOUD_PROJECT", "CLOUDSDK_CONFIG", "VERTEX_REGION_"),
        *("ANTHROPIC_VERTEX_", SKIP_VERTEX),
    ),
}
# Of providers that this server doesn't know.
_UNKNOWN = ("ANTHROPIC_FOUNDRY_", "ANTHROPIC_AWS_")
_SWITCHES: Mapping[Method, str] = {"bedrock": BEDROCK, "vertex": VERTEX}


def _number(text: str) -> str:
    if not text.strip().isdigit():
        raise ValueError("a number of tokens is needed")
    return text.strip()


# Variables that the CLI would pass over if it couldn't read them.
_READ = {"ANTHROPIC_CUSTOM_HEADERS": custom_headers, "MAX_THINKING_TOKENS": _number}


def child_environment(environ: Mapping[str, str], method: Method) -> dict[str, str]:
    """The part of `environ` that a claude process may see. Raises ValueError naming a variable that can't be
    used."""
    own = _OWN[method]
    others = tuple(p for other, names in _OWN.items() if other != method for p in names) + _UNKNOWN
    found = {
        name: value
        for name, value in environ.items()
        if name.startswith(own)
        or ((name in _NAMES or name.startswith(_PREFIXES)) and not name.startswith(others))
    }
    if method in _SWITCHES:
        found[_SWITCHES[method]] = "1"
        if behind_gateway(environ, method) and KEYS[1] in environ:
            # What a gateway asks for, which logs in at the provider by itself.
            found[KEYS[1]] = environ[KEYS[1]]
    for name, read in _READ.items():
        try:
            found |= {name: read(found[name])} if found.get(name) else {}
        except ValueError as error:
            raise ValueError(f"{name}={found[name]}: {error}.") from None
    return found


def login_variables(found: Mapping[str, str]) -> list[str]:
    """The names in a child's environment that have to do with its login, sorted. No values."""
    beginnings = (*(p for names in _OWN.values() for p in names), BEDROCK, VERTEX, "ANTHROPIC_")
    return sorted(name for name in found if name.startswith(beginnings))
