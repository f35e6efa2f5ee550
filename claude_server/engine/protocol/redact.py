"""Keys and tokens out of texts that the CLI or the API wrote, before a client or the log gets them. Pure.

The time that it takes goes by the length of the text, and is bounded: no pattern looks at one place again and
again, and of a long text only the beginning is looked at and told.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

_HIDDEN = "***"
_SECRET = re.compile(
    r"""
      \b(?:sk|pk|rk)-[\w-]{8,}              # Anthropic's keys and tokens, and others of that shape
    | \b(?:AKIA|ASIA)[A-Z0-9]{12,}          # the id of an AWS key
    | \b(?:gh[a-z]|xox[a-z])[-_]\w[\w-]{8,} # GitHub, Slack
    | \bya29\.[\w-]{8,}                     # Google
    | (?<=://)[^\s/@:]+:[^\s/@]+(?=@)       # name and password in an address
    | (?i:(?<=bearer\ )|(?<=basic\ ))[\w.~+/=-]{8,}
    """,
    re.VERBOSE,
)
# Words with dots between them; a JSON web token is three of them.
_DOTTED = re.compile(r"(?<![\w.-])[\w-]+(?:\.[\w-]+){2,}")
_TOKEN_BEGIN = re.compile(r"\bey[\w-]{8,}$")
# A name, and what it is set to: x-api-key: ..., "refreshToken": "...", AWS_SECRET_ACCESS_KEY=...
_NAME = re.compile(r"""(?<![\w-])([\w-]+)["']?\s*[:=]\s*["']?""")
_SAYS_SO = re.compile(r"api[-_]?key|access[-_]?key|token|secret|password|credential", re.IGNORECASE)
# Names of variables: ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN, AWS_SECRET_ACCESS_KEY, ...
_HOLDS_ONE = re.compile(r"key|token|secret|password|credential|auth", re.IGNORECASE)
_VALUE = re.compile(r"""[^\s"',;]{8,}""")
# What is shorter keeps no secret, and may be a word of the text.
_MIN_KNOWN = 6
# The most characters of a text that are looked at: some milliseconds. An API that is asked something long may
# say it all again in its error.
_MOST = 20_000
# No secret is longer. The piece of one that is left where a text was cut would not be known as one.
_LONGEST_SECRET = 4_000


def secrets_in(environment: Mapping[str, str], headers: Iterable[tuple[str, str]] = ()) -> frozenset[str]:
    """The values that a process gets and that may be secret, by the names of its variables; and those of
    `headers`. Files and numbers are none."""
    found = {value for name, value in environment.items() if _HOLDS_ONE.search(name)}
    lines = environment.get("ANTHROPIC_CUSTOM_HEADERS", "").splitlines()
    for value in (*(line.partition(":")[2] for line in lines), *(value for _, value in headers)):
        # The scheme of "Bearer x" is no secret.
        found |= {value.strip(), value.strip().rpartition(" ")[2]}
    for name, value in environment.items():
        if name.lower().endswith("_proxy"):
            found.add(value.rpartition("@")[0].rpartition(":")[2])
    return frozenset(
        text
        for text in found
        if len(text) >= _MIN_KNOWN and not text.startswith(("/", "~")) and not text.isdigit()
    )


def without_secrets(frame: Mapping[str, Any], known: Collection[str]) -> Mapping[str, Any]:
    """A frame that tells of a failure, with the `known` secrets out of its texts."""
    if not known or frame.get("type") != "result" or not frame.get("is_error"):
        return frame
    said, errors = frame.get("result"), frame.get("errors")
    changed: dict[str, Any] = {}
    if isinstance(said, str):
        changed["result"] = redacted(said, known)
    if isinstance(errors, list):
        changed["errors"] = [redacted(each, known) if isinstance(each, str) else each for each in errors]
    return {**frame, **changed}


def redacted(text: str, known: Collection[str] = ()) -> str:
    """The text without what looks like a key, a token or a password, and without the `known` secrets. Of more
    than 20,000 characters only the first 16,000 or so are left, and three dots."""
    if len(text) > _MOST:
        return f"{redacted(text[:_MOST], known)[:-_LONGEST_SECRET]}..."
    for secret in sorted(known, key=len, reverse=True):
        if len(secret) >= _MIN_KNOWN:
            text = text.replace(secret, _HIDDEN)
    return _without_named(_DOTTED.sub(_without_web_token, _SECRET.sub(_HIDDEN, text)))


def _without_web_token(found: re.Match[str]) -> str:
    words = found[0].split(".")
    kept: list[str] = []
    place = 0
    while place < len(words):
        begin = _TOKEN_BEGIN.search(words[place])
        if begin and place + 2 < len(words) and len(words[place + 1]) >= 8:
            kept.append(words[place][: begin.start()] + _HIDDEN)
            place += 3
        else:
            kept.append(words[place])
            place += 1
    return ".".join(kept)


def _without_named(text: str) -> str:
    pieces: list[str] = []
    done = 0
    while (name := _NAME.search(text, done)) is not None:
        value = _VALUE.match(text, name.end()) if _SAYS_SO.search(name[1]) else None
        pieces += (text[done : name.end()], _HIDDEN if value else "")
        done = value.end() if value else name.end()
    return "".join((*pieces, text[done:]))
