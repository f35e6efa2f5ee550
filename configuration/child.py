"""What of our own environment a `claude` process may see.

All else (tokens of other tools, shell settings, the CLAUDECODE of a surrounding session) stays out.
"""

from __future__ import annotations

from collections.abc import Mapping

from configuration.sources import TRUE

_NAMES = frozenset(
    {
        *("HOME", "PATH", "LANG", "TZ", "USER", "TMPDIR", "CLAUDE_CONFIG_DIR", "CLAUDE_CODE_OAUTH_TOKEN"),
        *("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "SSL_CERT_DIR"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
        *("http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    }
)
_PREFIXES = ("LC_", "ANTHROPIC_")
# A provider's own names go along only when that provider is chosen.
_PROVIDERS = {
    "CLAUDE_CODE_USE_BEDROCK": ("CLAUDE_CODE_USE_BEDROCK", "AWS_"),
    "CLAUDE_CODE_USE_VERTEX": ("CLAUDE_CODE_USE_VERTEX", "CLOUD_ML_REGION", "GOOGLE_", "VERTEX_"),
}


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of `environ` that a claude process may see."""
    prefixes: tuple[str, ...] = _PREFIXES
    for switch, names in _PROVIDERS.items():
        if environ.get(switch, "").strip().lower() in TRUE:
            prefixes += names
    return {k: v for k, v in environ.items() if k in _NAMES or k.startswith(prefixes)}
