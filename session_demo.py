"""A conversation that the server keeps: only the new message is sent.

`session_id` is an extension, so it goes into `extra_body`. The answer's header
`x-claude-session` says what the server did: created, resumed or recreated. In
the end a table shows, turn by turn, how many tokens came from the prompt cache,
and the last line tells how to go on with the same conversation.
"""

from __future__ import annotations

import sys
import time
import uuid
from argparse import Namespace

from rich.console import Console

from lab import demo_support as demo


def talk(options: Namespace, console: Console) -> None:
    client = demo.client(options)
    session_id = options.session_id or str(uuid.uuid4())
    scripted = demo.RECALL if options.session_id else (demo.INTRODUCTION, *demo.RECALL)
    turns: list[demo.Turn] = []
    for question in demo.questions(options, console, scripted):
        started = time.perf_counter()
        # with_raw_response only gives the headers; without it, create() takes the same arguments.
        response = client.chat.completions.with_raw_response.create(
            model=options.model,
            messages=[
                {"role": "system", "content": demo.system_prompt(options)},
                {"role": "user", "content": question},
            ],
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"session_id": session_id},
        )
        state = response.headers.get("x-claude-session")
        turns.append(demo.show(console, started, response.parse(), state))
    columns = {
        "x-claude-\nsession": lambda turn: turn.session or "-",
        "prompt_\ntokens": lambda turn: demo.count(turn.prompt),
        "cache_read_\ninput_tokens": lambda turn: demo.count(turn.cache_read),
        "cache_creation_\ninput_tokens": lambda turn: demo.count(turn.cache_creation),
        "time": lambda turn: demo.seconds(turn.seconds),
        "cost": lambda turn: demo.dollars(turn.cost),
    }
    demo.report(console, turns, columns)
    if turns:
        console.print("\nGo on with this conversation:")
        place = "" if options.base_url == demo.DEFAULT_URL else f" --base-url {options.base_url}"
        console.out(f"  python session_demo.py --session-id {session_id}{place}", highlight=False)


if __name__ == "__main__":
    parser = demo.parser(__doc__, chat=True)
    parser.add_argument("--session-id", metavar="ID", help="go on with this conversation")
    sys.exit(demo.run(parser, talk))
