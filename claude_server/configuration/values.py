"""Values that are more than one word."""

from __future__ import annotations

import ipaddress
import json
import re

# Stands for every name.
ALL = "*"
_TOOL = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[^\s/?#@:*\[\]]+)(:\d{1,5})?")
# Programs that give each of their web views a name of its own.
_ANY_OF_SCHEME = re.compile(r"(?!https?:|file:)[a-z][a-z0-9+.-]*://\*")


def listed(text: str) -> tuple[str, ...]:
    """The items of a list, given as JSON or with commas between them; blanks around them don't count.

    Raises ValueError.
    """
    if text.strip().startswith("["):
        try:
            found = json.loads(text)
        except ValueError:
            raise ValueError('a list is needed: a,b or ["a", "b"]') from None
        if not all(isinstance(item, str) for item in found):
            raise ValueError('a list of texts is needed: a,b or ["a", "b"]')
    else:
        found = text.split(",")
    return tuple(item.strip() for item in found if item.strip())


def tool_names(text: str) -> tuple[str, ...]:
    """Names of tools. Raises ValueError."""
    names = listed(text)
    for name in names:
        if not _TOOL.fullmatch(name):
            raise ValueError(f"'{name}' can't be a tool's name; on, off, or names like Read,Glob,Grep")
    return names


def network(text: str) -> str:
    """An address or a network. Raises ValueError."""
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise ValueError(f"'{text}' is no address or network like 10.0.0.1 or 10.0.0.0/8") from None


def origin(text: str) -> str:
    """An origin as browsers send it, or `*`, or all of a program's such as `vscode-webview://*`. Raises
    ValueError."""
    if text == "*":
        return text
    plain = text.lower().removesuffix("/")
    if not _ORIGIN.fullmatch(plain) and not _ANY_OF_SCHEME.fullmatch(plain):
        raise ValueError(
            f"'{text}' is no origin: one looks like https://example.com, http://localhost:3000, "
            "app://obsidian.md or vscode-webview://*"
        )
    return plain
