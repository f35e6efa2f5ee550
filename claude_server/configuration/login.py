"""How the CLI is to log in: with its own login, an API key, Bedrock or Vertex; and what is missing for it.

Nothing is asked of Anthropic or a provider here. Which files are there is told by the caller.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from claude_server.configuration.sources import TRUE

Method = Literal["claude_cli", "anthropic", "bedrock", "vertex"]
Choice = Literal["cli", "api_key", "bedrock", "vertex"]
METHODS: Mapping[Choice, Method] = {
    "cli": "claude_cli",
    "api_key": "anthropic",
    "bedrock": "bedrock",
    "vertex": "vertex",
}
KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")
BEDROCK, VERTEX = "CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX"
SKIP_BEDROCK, SKIP_VERTEX = "CLAUDE_CODE_SKIP_BEDROCK_AUTH", "CLAUDE_CODE_SKIP_VERTEX_AUTH"
_MODELS = tuple(f"ANTHROPIC_DEFAULT_{name}_MODEL" for name in ("SONNET", "OPUS", "HAIKU"))
_AWS_ALONE = (
    *("AWS_PROFILE", "AWS_BEARER_TOKEN_BEDROCK", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    *("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
)

Exists = Callable[[Path], bool]


@dataclass(frozen=True)
class Login:
    """`chosen_by`: the setting or variable that decided, "" if nothing did. `missing`: a sentence for each
    variable that the method needs and that isn't there. `notes`: for the person at the terminal."""

    method: Method = "claude_cli"
    chosen_by: str = ""
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def detect_login(
    environ: Mapping[str, str], forced: Choice | None, subscription: bool, exists: Exists
) -> Login:
    """The login that `environ` means. `forced`: CLAUDE_AUTH_METHOD; `subscription`: CLAUDE_USE_SUBSCRIPTION.

    Where nothing is forced, Bedrock comes before Vertex, as in the CLI, and a key before the CLI's login.
    """
    method, chosen_by = _chosen(environ, forced, subscription)
    notes = tuple(_notes(environ, method, chosen_by))
    return Login(method, chosen_by, tuple(_missing(environ, method, exists)), notes)


def is_on(environ: Mapping[str, str], name: str) -> bool:
    """Is this switch of the CLI on?"""
    return environ.get(name, "").strip().lower() in TRUE


def _chosen(environ: Mapping[str, str], forced: Choice | None, subscription: bool) -> tuple[Method, str]:
    if forced is not None:
        return METHODS[forced], "CLAUDE_AUTH_METHOD"
    if subscription:
        return "claude_cli", "CLAUDE_USE_SUBSCRIPTION"
    switches: tuple[tuple[str, Method], ...] = ((BEDROCK, "bedrock"), (VERTEX, "vertex"))
    for switch, method in switches:
        if is_on(environ, switch):
            return method, switch
    key = next((name for name in KEYS if environ.get(name)), None)
    return ("anthropic", key) if key else ("claude_cli", "")


def _notes(environ: Mapping[str, str], method: Method, chosen_by: str) -> Iterator[str]:
    if method != "anthropic":
        for name in KEYS:
            if environ.get(name) and not (name == KEYS[1] and behind_gateway(environ, method)):
                yield f"{name} is set, but the CLI doesn't get it: {chosen_by} chooses {method}"
    for switch, provider in ((BEDROCK, "bedrock"), (VERTEX, "vertex")):
        if is_on(environ, switch) and method != provider:
            yield f"{switch} is set, but has no effect: {chosen_by} chooses {method}"
    if method == "bedrock" and not is_on(environ, SKIP_BEDROCK) and not all(map(environ.get, _MODELS)):
        yield (
            "on Bedrock the CLI asks for one token of several models whenever a process starts, to see which "
            f"there are; it doesn't if {', '.join(_MODELS)} name those that you use"
        )


def behind_gateway(environ: Mapping[str, str], method: Method) -> bool:
    """Does somebody else log in at the provider, to whom a token is shown?"""
    switch = {"bedrock": SKIP_BEDROCK, "vertex": SKIP_VERTEX}.get(method)
    return switch is not None and is_on(environ, switch)


def _missing(environ: Mapping[str, str], method: Method, exists: Exists) -> Iterator[str]:
    if method == "bedrock":
        yield from _missing_aws(environ, exists)
    elif method == "vertex":
        yield from _missing_google(environ, exists)
    elif method == "anthropic" and not any(map(environ.get, KEYS)):
        yield "ANTHROPIC_API_KEY is not set."


def _missing_aws(environ: Mapping[str, str], exists: Exists) -> Iterator[str]:
    if not environ.get("AWS_REGION") and not environ.get("AWS_DEFAULT_REGION"):
        yield "AWS_REGION is not set: the CLI takes us-east-1."
    if is_on(environ, SKIP_BEDROCK) or any(map(environ.get, _AWS_ALONE)):
        return
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    absent = [name for name in names if not environ.get(name)]
    home = Path(environ.get("HOME", "/"))
    files = (
        Path(environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws" / "credentials"),
        Path(environ.get("AWS_CONFIG_FILE") or home / ".aws" / "config"),
    )
    if len(absent) == 1 or (absent and not any(map(exists, files))):
        for name in absent:
            yield f"{name} is not set, and there is no other sign of AWS credentials."


def _missing_google(environ: Mapping[str, str], exists: Exists) -> Iterator[str]:
    for name in ("ANTHROPIC_VERTEX_PROJECT_ID", "CLOUD_ML_REGION"):
        if not environ.get(name):
            yield f"{name} is not set."
    if is_on(environ, SKIP_VERTEX):
        return
    named = environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    gcloud = Path(environ.get("CLOUDSDK_CONFIG") or Path(environ.get("HOME", "/")) / ".config" / "gcloud")
    if named and not exists(Path(named)):
        yield f"GOOGLE_APPLICATION_CREDENTIALS names a file that isn't there: {named}."
    elif not named and not exists(gcloud / "application_default_credentials.json"):
        yield "GOOGLE_APPLICATION_CREDENTIALS is not set, and gcloud's own credentials aren't there."


def custom_headers(text: str) -> str:
    """ANTHROPIC_CUSTOM_HEADERS as the CLI reads it, a `Name: value` a line; JSON is taken too.

    Raises ValueError.
    """
    if not text.strip().startswith("{"):
        return text
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    lines = [f"{name}: {value}" for name, value in found.items()] if isinstance(found, dict) else []
    if not lines or any("\n" in line or "\r" in line for line in lines):
        raise ValueError('headers are needed: "Name: value" lines, or JSON like {"Name": "value"}')
    return "\n".join(lines)
