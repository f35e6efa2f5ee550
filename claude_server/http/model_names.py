"""The model list. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from claude_server.core.model import ModelInfo
from claude_server.dialects.model_names import PLACEHOLDERS
from claude_server.http.admin.wire.models import Model

# Aliases of the CLI's documentation; it resolves them itself, so they hold beside its own list.
ALIASES = {
    "best": "the most capable model",
    "sonnet": "the latest Sonnet",
    "opus": "the latest Opus",
    "haiku": "the latest Haiku",
    "sonnet[1m]": "Sonnet with a 1M-token window",
    "opus[1m]": "Opus with a 1M-token window",
    "opusplan": "Opus to plan, Sonnet to carry out",
}
_OWNER = "anthropic"


def permitted(name: str, default_model: str | None, allowed: Collection[str] | None) -> bool:
    """May a key whose list is `allowed` (None: any) use a model by this name?

    The names are those that clients send, and stand for themselves only. All names that leave the choice are
    one, and the model that they stand for where the operator chose it.
    """
    if allowed is None or name in allowed:
        return True
    if name.strip() not in PLACEHOLDERS:
        return False
    return default_model in allowed or not PLACEHOLDERS.isdisjoint(allowed)


def listing(known: Sequence[ModelInfo], default_model: str | None, created: int) -> list[Model]:
    """Every name that a client may send, once each. `created`: epoch seconds, the API has no better."""
    models: dict[str, Model] = {}

    def add(name: str, display_name: str, resolves_to: str | None = None) -> None:
        models.setdefault(
            name,
            Model(
                id=name,
                created=created,
                owned_by=_OWNER,
                display_name=display_name,
                resolves_to=resolves_to,
            ),
        )

    chosen = f"{default_model} (CLAUDE_DEFAULT_MODEL)" if default_model else "the account's default"
    for name in sorted(PLACEHOLDERS - {""}, key=lambda n: (n != "default", n)):
        add(name, chosen, default_model)
    for info in known:
        add(info.id, info.display_name, info.resolves_to)
    for name, meaning in ALIASES.items():
        add(name, meaning)
    for info in known:
        if info.resolves_to:
            add(info.resolves_to, info.display_name)
    return list(models.values())
