"""A conversation in which the client keeps the history and sends all of it.

This is how every OpenAI client works; the server keeps nothing. Each answer is
shown as it comes. In the end a table tells what each turn took, and how much
of the growing prompt came from the prompt cache.
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from typing import TYPE_CHECKING

from rich.console import Console

from lab import demo_support as demo

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam


def talk(options: Namespace, console: Console) -> None:
    client = demo.client(options)
    history: list[ChatCompletionMessageParam] = [{"role": "system", "content": demo.system_prompt(options)}]
    turns: list[demo.Turn] = []
    for question in demo.questions(options, console, (demo.INTRODUCTION, *demo.RECALL)):
        history.append({"role": "user", "content": question})
        started = time.perf_counter()
        stream = client.chat.completions.create(
            model=options.model,
            messages=history,
            stream=True,
            stream_options={"include_usage": True},
        )
        turns.append(demo.show(console, started, stream))
        history.append({"role": "assistant", "content": turns[-1].answer})
    columns = {
        "prompt\ntokens": lambda turn: demo.count(turn.prompt),
        "cached\ntokens": lambda turn: demo.count(turn.cache_read),
        "cache\nwrites": lambda turn: demo.count(turn.cache_creation),
        "completion\ntokens": lambda turn: demo.count(turn.completion),
        "first\ntoken": lambda turn: demo.seconds(turn.first),
        "time": lambda turn: demo.seconds(turn.seconds),
        "cost": lambda turn: demo.dollars(turn.cost),
    }
    demo.report(console, turns, columns)


if __name__ == "__main__":
    sys.exit(demo.run(demo.parser(__doc__, chat=True), talk))
