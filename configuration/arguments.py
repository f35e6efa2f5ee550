"""Settings on a command line."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator

from configuration.fields import SettingField, default_text, is_switch


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
            parser.add_argument(mark.option, dest=name, metavar=name.upper(), help=text)


def server_parser(
    settings: Collection[SettingField], service: str, version: str, commands: str
) -> argparse.ArgumentParser:
    """The server's command line: an option a setting, `--version` and the like, the port as the one argument.

    `commands`: what `--help` says of the other commands.
    """
    secrets = ", ".join(mark.names[0] for _, mark, _ in settings if mark.secret)
    parser = argparse.ArgumentParser(
        prog="claude_api.py",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Use Claude from any OpenAI client, through the claude CLI that you are logged into.",
        epilog="Order: command line, environment, .env in the current folder, default."
        + (f"\nSecrets are taken from the environment and .env only: {secrets}." if secrets else "")
        + (f"\n\ncommands, each with --help:\n{commands}" if commands else ""),
    )
    parser.add_argument("--version", action="version", version=f"{service} {version}")
    parser.add_argument("port_argument", metavar="PORT", nargs="?", help="the same as --port")
    parser.add_argument(
        "--reload", action="store_true", help="for development: start anew whenever the source changes"
    )
    parser.add_argument("--no-prompt", action="store_true", help="never ask whether to add a key")
    add_options(parser, iter(settings))
    return parser
