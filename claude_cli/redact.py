"""Keys and tokens out of texts that the CLI or the API wrote, before a client or the log gets them. Pure."""

from __future__ import annotations

import re

_HIDDEN = "***"
_SECRET = re.compile(
    r"""
      \b(?:sk|pk|rk)-[\w-]{8,}              # Anthropic's keys and tokens, and others of that shape
    | \bey[\w-]{8,}\.[\w-]{8,}\.[\w-]+      # a JSON web token
    | \b(?:AKIA|ASIA)[A-Z0-9]{12,}          # the id of an AWS key
    | \b(?:gh[a-z]|xox[a-z])[-_]\w[\w-]{8,} # GitHub, Slack
    | \bya29\.[\w-]{8,}                     # Google
    | (?<=://)[^\s/@:]+:[^\s/@]+(?=@)       # name and password in an address
    | (?i:(?<=bearer\ )|(?<=basic\ ))[\w.~+/=-]{8,}
    """,
    re.VERBOSE,
)
# A name that says so, and what it is set to: x-api-key: ..., "refreshToken": "...", AWS_SECRET_ACCESS_KEY=...
_NAMED = re.compile(
    r"""(?ix) ( [\w-]* (?: api[-_]?key | access[-_]?key | token | secret | password | credential ) [\w-]*
        ["']? \s* [:=] \s* ["']? ) ( [^\s"',;]{8,} )"""
)


def redacted(text: str) -> str:
    """The text without what looks like a key, a token or a password."""
    return _NAMED.sub(rf"\1{_HIDDEN}", _SECRET.sub(_HIDDEN, text))
