"""How a setting is described: its names, its option, its default as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import BaseModel
from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class Env:
    """The environment names of a setting (the first is ours and wins) and its command-line option.

    A secret has no option, since a command line can be read by everybody on the machine, and its value is
    never shown.
    """

    names: tuple[str, ...]
    flag: str | None = None
    secret: bool = False

    @property
    def option(self) -> str | None:
        if self.secret:
            return None
        return self.flag or "--" + self.names[0].lower().removeprefix("claude_").replace("_", "-")


def env(*names: str, flag: str | None = None, secret: bool = False) -> Env:
    """The mark that makes a field a setting."""
    return Env(names, flag, secret)


class SettingField(NamedTuple):
    """A setting: its field's name, its names outside, the field."""

    name: str
    env: Env
    field: FieldInfo


def setting_fields(model: type[BaseModel]) -> Iterator[SettingField]:
    """Every setting of `model` that a person can set, in order."""
    for name, field in model.model_fields.items():
        for mark in field.metadata:
            if isinstance(mark, Env):
                yield SettingField(name, mark, field)


def is_switch(field: FieldInfo) -> bool:
    """Is it a setting that is on or off?"""
    return field.annotation is bool


def default_text(name: str, field: FieldInfo) -> str:
    """The default as a person reads it."""
    if name == "state_dir":
        return "the user's state folder"
    if is_switch(field):
        return "on" if field.default else "off"
    if field.default in (None, "", ()):
        return "none"
    return f"{field.default:g}" if isinstance(field.default, float) else str(field.default)


def example(settings: Iterator[SettingField]) -> str:
    """The text of `.env.example`: every setting with its default, as a comment."""
    lines = ["# Copy to .env and uncomment what you change. Made by `make env-example`.", ""]
    for name, mark, field in settings:
        also = f" Also read as: {', '.join(mark.names[1:])}." if mark.names[1:] else ""
        default = default_text(name, field)
        value = "" if default in ("none", "the user's state folder") else default
        lines += [f"# {field.description}.{also}", f"#{mark.names[0]}={value}", ""]
    return "\n".join(lines)
