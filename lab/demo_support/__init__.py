"""What the three demos share: options, a failure in one sentence, and how a conversation looks."""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
from openai.types.chat import ChatCompletionChunk
from rich import box
from rich.console import Console
from rich.table import Table

DEFAULT_URL = "http://127.0.0.1:8765/v1"
INTRODUCTION = "My name is Alice, I'm a backend engineer, and I live in Lisbon."
RECALL = ("What is my name?", "What do I do for a living?", "Which city do I live in?")
# An answer may hold anything, and a terminal obeys control characters.
_CONTROLS = dict.fromkeys(code for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t")
_CONNECT_SECONDS = 10.0


def parser(description: str | None, *, chat: bool = False) -> argparse.ArgumentParser:
    """The options that every demo has, and more if it talks. Nothing is read from the environment."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--base-url", type=_url, default=DEFAULT_URL, metavar="URL", help=f"default: {DEFAULT_URL}"
    )
    made.add_argument("--model", default="default", help="such as haiku; 'default' is the server's choice")
    made.add_argument("--api-key", default="not-used", metavar="KEY", help="if the server asks for one")
    if chat:
        made.add_argument("--chat", action="store_true", help="type the messages yourself")
        made.add_argument(
            "--context",
            type=_text,
            metavar="FILE",
            help="a text to talk about: the cache is for long prompts",
        )
    return made


def _text(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{name} can't be read: {error.strerror}") from None


def system_prompt(options: argparse.Namespace) -> str:
    """What both conversations begin with."""
    return "You are concise." if options.context is None else f"You are concise.\n\n{options.context}"


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise argparse.ArgumentTypeError(f"'{text}' is no address such as {DEFAULT_URL}")
    return text


def run(made: argparse.ArgumentParser, demo: Callable[[argparse.Namespace, Console], None]) -> int:
    """Parse the command line and run a demo; returns the exit status."""
    options = made.parse_args()
    for stream in (sys.stdout, sys.stderr):
        # An answer may hold what the terminal's encoding has not.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        problem = _unreachable(options.base_url)
        if problem is None:
            demo(options, Console(highlight=False))
            return 0
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Who read our output has gone, and Python would complain about it again at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (openai.APIError, httpx.HTTPError) as error:
        problem = _sentence(error, options.base_url)
    print(plain(problem), file=sys.stderr)
    return 1


def _unreachable(url: str) -> str | None:
    """A sentence if nobody listens there: said before a conversation begins, not in the middle of it."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname, port), _CONNECT_SECONDS).close()
    except OSError:
        return f"No server answers at {url}. Start one with: python claude_api.py"
    return None


def _sentence(error: Exception, url: str) -> str:
    """What went wrong, for a person."""
    if isinstance(error, openai.APITimeoutError):
        return f"The server at {url} took too long to answer."
    # Which of the two it is when a stream breaks off depends on the version of the openai package.
    if isinstance(error, (openai.APIConnectionError, httpx.HTTPError)):
        return f"The server at {url} broke off: {error.__cause__ or error}"
    body = getattr(error, "body", None)
    said = body.get("message") if isinstance(body, Mapping) else None
    status = f" {error.status_code}" if isinstance(error, openai.APIStatusError) else ""
    return f"The server answered with an error{status}: {said or error}"


# The clients don't retry, since the server does; and a proxy for the internet, which the environment may
# name, doesn't lead to this machine.
def client(options: argparse.Namespace) -> openai.OpenAI:
    direct = openai.DefaultHttpxClient(trust_env=False)
    return openai.OpenAI(
        base_url=options.base_url, api_key=options.api_key, max_retries=0, http_client=direct
    )


def async_client(options: argparse.Namespace) -> openai.AsyncOpenAI:
    direct = openai.DefaultAsyncHttpxClient(trust_env=False)
    return openai.AsyncOpenAI(
        base_url=options.base_url, api_key=options.api_key, max_retries=0, http_client=direct
    )


def plain(text: str) -> str:
    """A text without control characters, but for newlines and tabs."""
    return text.translate(_CONTROLS)


@dataclass(frozen=True)
class Turn:
    """One answer and what it took. Times in seconds, cost in US dollars; None is not told."""

    answer: str
    first: float | None
    seconds: float
    prompt: int | None = None
    completion: int | None = None
    cache_read: int | None = None
    cache_creation: int | None = None
    cost: float | None = None
    session: str | None = None


def questions(options: argparse.Namespace, console: Console, scripted: Iterable[str]) -> Iterator[str]:
    """The questions, each shown as it is asked: `scripted`, or what is typed with `--chat`."""
    if not options.chat:
        for question in scripted:
            console.print("[bold cyan]You:[/] ", end="")
            console.out(question, highlight=False)
            yield question
        return
    typed = sys.stdin.isatty()
    if typed and console.is_terminal:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 (gives input() its line editing)
    console.print("Type a message. An empty line or Ctrl-D ends the chat.\n")
    while True:
        try:
            question = input("You: ").strip()
        except EOFError:
            question = ""
        if not typed or not question:
            # What isn't typed isn't seen, and the end needs a line of its own.
            console.out(plain(question), highlight=False)
        if not question:
            return
        yield question


def show(
    console: Console, started: float, stream: Iterable[ChatCompletionChunk], session: str | None = None
) -> Turn:
    """Print an answer as it comes. `started`: the time.perf_counter() at which it was asked for."""
    console.print("[bold green]Claude:[/] ", end="")
    texts: list[str] = []
    first: float | None = None
    usage: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for chunk in stream:
        extra = getattr(chunk, "x_claude", None) or extra
        usage = chunk.usage.model_dump() if chunk.usage else usage
        for text in (choice.delta.content for choice in chunk.choices):
            if text:
                first = first or time.perf_counter() - started
                texts.append(text)
                console.out(plain(text), end="", highlight=False)
    console.print("\n")
    for notice in extra.get("notices", ()):
        console.out(f"(The server notes: {plain(notice)})\n", highlight=False)
    return Turn(
        answer="".join(texts),
        first=first,
        seconds=time.perf_counter() - started,
        prompt=usage.get("prompt_tokens"),
        completion=usage.get("completion_tokens"),
        cache_read=usage.get("cache_read_input_tokens"),
        cache_creation=usage.get("cache_creation_input_tokens"),
        cost=extra.get("cost_usd"),
        session=session,
    )


def count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def seconds(number: float | None) -> str:
    return "-" if number is None else f"{number:.2f} s"


def dollars(number: float | None) -> str:
    return "-" if number is None else f"${number:.4f}"


def report(console: Console, turns: Sequence[Turn], columns: Mapping[str, Callable[[Turn], str]]) -> None:
    """A table with a row a turn (`columns`: header to cell), and what all took together."""
    if not turns:
        return
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for header in ("turn", *columns):
        table.add_column(header, justify="right", vertical="bottom")
    for number, turn in enumerate(turns, 1):
        table.add_row(str(number), *(cell(turn) for cell in columns.values()))
    console.print(table)
    console.print()
    prompt = sum(turn.prompt or 0 for turn in turns)
    cached = sum(turn.cache_read or 0 for turn in turns)
    share = f" ({cached / prompt:.0%})" if prompt else ""
    console.print(f"In all: {prompt:,} prompt tokens, {cached:,} of them{share} read from the cache.")
    if not cached:
        console.print("The API caches prompts from 1,024 to 4,096 tokens on, depending on the model;")
        console.print("--context FILE makes this one long.")
    costs = [turn.cost for turn in turns if turn.cost is not None]
    if costs:
        console.print(f"Cost: {dollars(sum(costs))}, as the CLI estimates it; a subscription bills nothing.")
