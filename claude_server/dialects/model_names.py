"""Names of models, as clients send them. Pure."""

from __future__ import annotations

# Names that mean "the default": for clients that must send one.
PLACEHOLDERS = frozenset({"", "default", "auto", "claude", "claude-cli"})


def chosen(name: str | None, default_model: str | None) -> str | None:
    """The model that a name asks for; None: the account's own default."""
    wanted = (name or "").strip()
    return default_model if wanted in PLACEHOLDERS else wanted
