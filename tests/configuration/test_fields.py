"""Settings of every kind: on a command line, in other sources, and as they are written about."""

from __future__ import annotations

import argparse
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, ValidationError

from claude_server.configuration.arguments import add_options, server_parser
from claude_server.configuration.fields import Env, default_text, env, example, setting_fields
from claude_server.configuration.sources import error_messages, resolve_values


class Some(BaseModel):
    """One setting of each kind."""

    size: Annotated[int, env("CLAUDE_SOME_SIZE", "SIZE")] = Field(3, description="how large, 100 %")
    loud: Annotated[bool, env("SOME_LOUD")] = Field(False, description="say it aloud")
    word: Annotated[str | None, env("SOME_WORD", secret=True)] = Field(None, min_length=8, description="hush")
    hidden: int = 0


def options(*argv: str, only: tuple[str, ...] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_options(parser, setting_fields(Some), only)
    return vars(parser.parse_args(argv))


def test_the_option_of_a_setting() -> None:
    assert Env(("CLAUDE_MAX_QUEUE",)).option == "--max-queue"
    assert Env(("LOG_LEVEL",)).option == "--log-level"
    assert Env(("A",), "--b").option == "--b"
    assert Env(("API_KEY",), secret=True).option is None


def test_the_command_line_of_each_kind() -> None:
    assert options() == {"size": None, "loud": None}
    assert options("--some-size", "4", "--some-loud") == {"size": "4", "loud": True}
    assert options("--no-some-loud")["loud"] is False
    assert options(only=("size",)) == {"size": None}


def test_help_says_where_a_secret_goes() -> None:
    text = server_parser(list(setting_fields(Some)), "s", "1", "").format_help()
    assert "--some-word" not in text and "environment and .env only: SOME_WORD" in text
    assert "100 %" in text and "commands" not in text


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("off", False), ("No", False)])
def test_a_switch_in_the_environment(text: str, value: bool) -> None:
    chosen = resolve_values(setting_fields(Some), options(), (({"SOME_LOUD": text}, ""),))
    assert Some(**chosen.values).loud is value
    over = resolve_values(setting_fields(Some), options("--some-loud"), (({"SOME_LOUD": text}, ""),))
    assert Some(**over.values).loud is True


def test_a_wrong_secret_is_not_repeated() -> None:
    sources = (({"SOME_WORD": "pa55", "SIZE": "big"}, ""),)
    chosen = resolve_values(setting_fields(Some), options(), sources)
    with pytest.raises(ValidationError) as raised:
        Some(**chosen.values)
    said = list(error_messages(raised.value, chosen, setting_fields(Some)))
    assert [line.split(":")[0] for line in said] == ["SIZE=big", "SOME_WORD=***"]
    assert "pa55" not in "".join(said)


def test_the_example() -> None:
    assert example(setting_fields(Some)).splitlines()[2:] == [
        "# how large, 100 %. Also read as: SIZE.",
        "#CLAUDE_SOME_SIZE=3",
        "",
        "# say it aloud.",
        "#SOME_LOUD=off",
        "",
        "# hush.",
        "#SOME_WORD=",
    ]
    assert default_text("loud", Some.model_fields["loud"]) == "off"
