"""`python -m claude_server.standin`: the stand-in by itself, until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import sys

from claude_server.standin.app import Responder, StandInApp
from claude_server.standin.respond import default_reply
from claude_server.standin.script import Reply
from claude_server.standin.server import HOST, listen, serve_on

_WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog", "and", "then", "rests")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    app = StandInApp(responder=_responder(options), keys=options.key or None)
    app.log.keep = options.keep
    try:
        sock = listen(options.port)
    except OSError as error:
        print(f"Port {options.port} can't be used: {error.strerror}.", file=sys.stderr)
        return 1
    with sock:
        print(f"http://{HOST}:{sock.getsockname()[1]}", flush=True)
        asyncio.run(_serve(sock, app))
    print(f"The stand-in ends after {app.log.requests_seen} requests.", flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m claude_server.standin",
        description="A loopback stand-in for Anthropic's Messages API. Prints its url, then serves until "
        "Ctrl-C. Set ANTHROPIC_BASE_URL to that url and ANTHROPIC_API_KEY to anything.",
    )
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--first-delay", type=float, default=0.0, metavar="S", help="before the first byte")
    parser.add_argument("--delay", type=float, default=0.0, metavar="S", help="between two deltas")
    parser.add_argument("--chunk-chars", type=int, default=24, metavar="N", help="size of a delta (24)")
    parser.add_argument("--key", action="append", metavar="KEY", help="accept this key only; repeatable")
    parser.add_argument("--keep", type=int, default=10_000, metavar="N", help="requests to keep (10000)")
    answer = parser.add_mutually_exclusive_group()
    answer.add_argument("--reply", metavar="TEXT", help="answer this; default: 'You said: ...'")
    answer.add_argument("--words", type=int, metavar="N", help="answer N words")
    return parser


def _responder(options: argparse.Namespace) -> Responder:
    timing = {
        "first_delay": options.first_delay,
        "delay": options.delay,
        "chunk_chars": options.chunk_chars,
    }
    if options.reply is None and options.words is None:
        return lambda request: Reply(blocks=default_reply(request).blocks, **timing)
    text = options.reply
    if text is None:
        text = " ".join(_WORDS[i % len(_WORDS)] for i in range(options.words))
    reply = Reply.of(text, **timing)
    return lambda request: reply


async def _serve(sock: socket.socket, app: StandInApp) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await serve_on(sock, app, stop)


if __name__ == "__main__":
    sys.exit(main())
