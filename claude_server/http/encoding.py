"""The encoding of a JSON body. Pure."""

from __future__ import annotations

import json
import re

from claude_server.core.errors import InvalidRequest

_CHARSET = re.compile(r""";\s*charset\s*=\s*["']?([^\s;"']+)""", re.IGNORECASE)
# Python has many more, some of which are no encodings of text, or can be made to take very long.
_KNOWN = {
    **dict.fromkeys(("utf-8", "utf8", "us-ascii", "ascii"), "utf-8"),
    **dict.fromkeys(("iso-8859-1", "latin-1", "latin1"), "latin-1"),
    **dict.fromkeys(("windows-1252", "cp1252"), "cp1252"),
    **{name: name for name in ("utf-16", "utf-16le", "utf-16be", "utf-32", "utf-32le", "utf-32be")},
}
_SHOWN = 40


def utf8(body: bytes, content_type: str = "", content_encoding: str = "") -> bytes:
    """A JSON body as UTF-8 without a byte order mark. The arguments are the headers of those names.

    UTF-16 and UTF-32 show in the first bytes. JSON is UTF-8 whatever its content type says, so a declared
    charset holds only for what is none. Raises InvalidRequest, which names the encoding.
    """
    if content_encoding.strip().lower() not in ("", "identity"):
        name = content_encoding[:_SHOWN]
        raise InvalidRequest(f"The body is compressed (content-encoding: {name}): send it as it is.")
    found = json.detect_encoding(body)
    if found not in ("utf-8", "utf-8-sig"):
        return _converted(body, found)
    body = body.removeprefix(b"\xef\xbb\xbf")
    declared = _CHARSET.search(content_type)
    if declared is None or _is_utf8(body):
        return body
    name = declared[1].lower()
    if name not in _KNOWN:
        raise InvalidRequest(f"The body's charset '{name[:_SHOWN]}' is not known here: send UTF-8.")
    return _converted(body, _KNOWN[name])


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _converted(body: bytes, encoding: str) -> bytes:
    try:
        return body.decode(encoding).encode()
    except UnicodeError:
        message = f"The body is not the {encoding.upper()} that it seems to be: send UTF-8."
        raise InvalidRequest(message) from None
