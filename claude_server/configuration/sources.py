"""Which of a setting's sources holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from claude_server.configuration.fields import SettingField

TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"", "0", "false", "no", "off"})


@dataclass
class ResolvedValues:
    """The values by field, where each came from, and notes for the person at the terminal."""

    values: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def resolve_values(
    settings: Iterator[SettingField],
    options: Mapping[str, Any],
    sources: Sequence[tuple[Mapping[str, str], str]],
) -> ResolvedValues:
    """Each setting from the command line's `options`, else from the first of `sources` that has it.

    A source comes with the words that say where it is, to be put behind a name.
    """
    chosen = ResolvedValues()
    for name, mark, _ in settings:
        if options.get(name) is not None:
            chosen.values[name], chosen.origin[name] = options[name], str(mark.option)
            continue
        for source, place in sources:
            found = {k: _converted(name, k, source[k], chosen.notes) for k in mark.names if source.get(k)}
            found = {key: value for key, value in found.items() if value is not None}
            if found:
                first = next(iter(found))
                chosen.values[name], chosen.origin[name] = found[first], first + place
                chosen.notes += [
                    f"{first} and {key} differ; {first} is used"
                    for key, value in found.items()
                    if value != found[first]
                ]
                break
    return chosen


def _converted(name: str, key: str, value: str, notes: list[str]) -> str | None:
    """A value given under one of the older names, in the unit of ours; None where it says nothing."""
    if key in ("DEBUG_MODE", "VERBOSE"):
        return "debug" if value.strip().lower() in TRUE else None
    if key == "MAX_TIMEOUT":
        try:
            number = float(value)
        except ValueError:
            return value
        seconds = number if number < 1000 else number / 1000
        notes.append(f"MAX_TIMEOUT={value} is read as {seconds:g} seconds")
        return f"{seconds:g}"
    return value.lower() if name == "log_level" else value


def error_messages(
    error: ValidationError, chosen: ResolvedValues, settings: Iterator[SettingField]
) -> Iterator[str]:
    """What is wrong with the values, a sentence each. No secret is repeated."""
    secrets = {name for name, mark, _ in settings if mark.secret}
    for item in error.errors():
        name = str(item["loc"][0])
        message = item["msg"].removeprefix("Value error, ")
        message = message[0].lower() + message[1:]
        value = "***" if name in secrets else chosen.values.get(name)
        key, _, place = chosen.origin.get(name, name).partition(" ")
        yield f"{key}={value}{place and ' ' + place}: {message}."
