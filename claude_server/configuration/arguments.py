"""Settings on a command line."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from claude_server.command_line import program
from claude_server.configuration.fields import SettingField, default_text, is_switch

# What fits on a terminal of 80 columns, as argparse reckons.
_WIDTH = 78
# Every setting of a type has the same unit or form.
_METAVARS: Mapping[Any, str] = {int: "N", float: "SECONDS", Path: "PATH", tuple: "A,B"}


def add_options(
    parser: argparse.ArgumentParser, settings: Iterator[SettingField], only: Collection[str] | None = None
) -> None:
    """An option for each setting, or for those whose fields `only` names. None: not given."""
    for name, mark, field in settings:
        if mark.option is None or (only is not None and name not in only):
            continue
        text = f"{field.description} (default: {default_text(name, field)}; {', '.join(mark.names)})"
        text = text.replace("%", "%%")
        if is_switch(field):
            parser.add_argument(mark.option, dest=name, action=argparse.BooleanOptionalAction, help=text)
        else:
            parser.add_argument(mark.option, dest=name, metavar=_metavar(name, field), help=text)


def _metavar(name: str, field: FieldInfo) -> str:
    """What stands for the value: the values there are, its kind, or the setting's name."""
    kind = field.annotation
    if NoneType in get_args(kind):
        (kind,) = (part for part in get_args(kind) if part is not NoneType)
    if get_origin(kind) is Literal:
        return "{" + ",".join(value for value in get_args(kind) if value) + "}"
    return _METAVARS.get(get_origin(kind) or kind, name.upper())


def server_parser(
    settings: Collection[SettingField], service: str, version: str, commands: str
) -> argparse.ArgumentParser:
    """The server's command line: an option a setting, `--version` and the like, the port as the one argument.

    `commands`: what `--help` says of the other commands.
    """
    secrets = ", ".join(mark.names[0] for _, mark, _ in settings if mark.secret)
    parser = argparse.ArgumentParser(
        prog=program(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # Made by argparse it would be a screen of options.
        usage=f"{program()} [PORT] [option ...]" + (f"\n       {program()} COMMAND ..." if commands else ""),
        description=_paragraph(
            "Use Claude from any OpenAI client, through the claude CLI that you are logged into."
        )
        + (f"\n\ncommands, each with --help:\n{commands}" if commands else ""),
        epilog=_paragraph("Order: command line, environment, .env in the current folder, default.")
        + (
            "\n" + _paragraph(f"Secrets are taken from the environment and .env only: {secrets}.")
            if secrets
            else ""
        ),
    )
    parser.add_argument("--version", action="version", version=f"{service} {version}")
    parser.add_argument("port_argument", metavar="PORT", nargs="?", help="the same as --port")
    parser.add_argument(
        "--reload", action="store_true", help="for development: start anew whenever the source changes"
    )
    parser.add_argument("--no-prompt", action="store_true", help="never ask whether to add a key")
    add_options(parser, iter(settings))
    return parser


def _paragraph(text: str) -> str:
    return textwrap.fill(text, _WIDTH)
