"""The model list."""

from __future__ import annotations

from claude_server.core.model import ModelInfo
from claude_server.dialects.model_names import PLACEHOLDERS
from claude_server.http.model_names import ALIASES, listing

KNOWN = (
    ModelInfo("default", "Default (recommended)", "claude-opus-9"),
    ModelInfo("opus", "Opus 9", "claude-opus-9"),
    ModelInfo("haiku", "Haiku 9"),
)


def test_the_order() -> None:
    names = [model.id for model in listing(KNOWN, None, 5)]
    assert names == [
        *("default", "auto", "claude", "claude-cli"),
        *("opus", "haiku", "best", "sonnet", "sonnet[1m]", "opus[1m]", "opusplan"),
        "claude-opus-9",
    ]


def test_each_name_once() -> None:
    for known in ((), KNOWN, KNOWN + KNOWN):
        names = [model.id for model in listing(known, "opus", 5)]
        assert len(names) == len(set(names))
        assert set(names) >= (PLACEHOLDERS - {""}) | set(ALIASES)


def test_what_is_said_of_a_model() -> None:
    models = {model.id: model for model in listing(KNOWN, None, 5)}
    assert models["opus"].model_dump() == {
        "id": "opus",
        "object": "model",
        "created": 5,
        "owned_by": "anthropic",
        "display_name": "Opus 9",
        "resolves_to": "claude-opus-9",
    }
    assert models["claude-opus-9"].display_name == "Default (recommended)"
    assert (models["best"].display_name, models["best"].resolves_to) == ("the most capable model", None)


def test_the_default_model() -> None:
    unset = {model.id: model for model in listing((), None, 5)}
    assert (unset["auto"].display_name, unset["auto"].resolves_to) == ("the account's default", None)
    chosen = {model.id: model for model in listing((), "opus", 5)}
    for name in PLACEHOLDERS - {""}:
        assert chosen[name].display_name == "opus (CLAUDE_DEFAULT_MODEL)"
        assert chosen[name].resolves_to == "opus"
