"""The dialects that this server speaks, and which one a request is in. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from claude_server.dialects.base import Dialect
from claude_server.dialects.chat.door import CHAT
from claude_server.dialects.completions.door import COMPLETIONS
from claude_server.dialects.messages.door import MESSAGES
from claude_server.dialects.responses.door import RESPONSES

# The first one is spoken where nothing tells.
DIALECTS: tuple[Dialect[Any], ...] = (CHAT, RESPONSES, COMPLETIONS, MESSAGES)


def dialect_of(path: str = "", headers: Iterable[tuple[bytes, bytes]] = ()) -> Dialect[Any]:
    """The dialect that the path belongs to; else the one whose header the request has; else the first.
    `headers`: pairs of lower-case name and value."""
    for dialect in DIALECTS:
        if any(path == own or path.startswith(f"{own}/") for own in dialect.paths):
            return dialect
    names = {name for name, _ in headers}
    marked = (each for each in DIALECTS if each.header is not None and each.header.encode() in names)
    return next(marked, DIALECTS[0])
