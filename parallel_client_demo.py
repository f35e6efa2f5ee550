"""Many calls at a time with the asynchronous client, and what that gains.

Sends the calls in parallel, then a few of them again one after another, and
compares the two as measured. The server runs CLAUDE_MAX_CONCURRENCY turns at a
time (4 by default); the other calls wait in its queue.
"""

from __future__ import annotations

import asyncio
import sys
import time
from argparse import ArgumentTypeError, Namespace
from dataclasses import dataclass

from openai import AsyncOpenAI
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from lab import demo_support as demo

COUNTRIES = ("Portugal", "Japan", "Kenya", "Peru", "Norway", "Egypt", "Canada", "India")


@dataclass(frozen=True)
class Call:
    """One finished call. `seconds` includes its wait in the server's queue."""

    prompt: str
    answer: str
    seconds: float


@dataclass(frozen=True)
class Run:
    """Calls that belong together. `wall`: seconds from the first one's start to the last one's end."""

    calls: list[Call]
    wall: float


async def ask(client: AsyncOpenAI, model: str, prompt: str) -> Call:
    started = time.perf_counter()
    completion = await client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": prompt}]
    )
    return Call(prompt, completion.choices[0].message.content or "", time.perf_counter() - started)


async def measure(options: Namespace, console: Console) -> tuple[Run, Run]:
    """The parallel run, then the serial one: what is warm by then helps the other side."""
    prompts = [f"Name the capital of {COUNTRIES[i % len(COUNTRIES)]}." for i in range(options.calls)]
    bar = Progress(
        TextColumn("{task.description:<17}"),
        BarColumn(None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    async with demo.async_client(options) as client:
        with bar:

            async def counted(prompt: str) -> Call:
                call = await ask(client, options.model, prompt)
                bar.advance(task)
                return call

            task = bar.add_task("in parallel", total=len(prompts))
            started = time.perf_counter()
            calls = await asyncio.gather(*map(counted, prompts))
            parallel = Run(calls, time.perf_counter() - started)
            again = prompts[: options.serial]
            task = bar.add_task("one after another", total=len(again), visible=bool(again))
            started = time.perf_counter()
            serial = Run([await counted(prompt) for prompt in again], time.perf_counter() - started)
    return parallel, serial


def findings(parallel: Run, serial: Run) -> list[str]:
    """The comparison in words."""
    many, few = len(parallel.calls), len(serial.calls)
    lines = [
        f"In parallel:       {many} calls in {parallel.wall:.2f} s wall time",
        f"                   (the sum of the call times is {sum(c.seconds for c in parallel.calls):.2f} s)",
    ]
    if not few:
        return [*lines, "Speed-up:          not measured, since --serial is 0"]
    each = serial.wall / few
    sample = f", so about {each * many:.2f} s for {many}" if few < many else ""
    return [
        *lines,
        f"One after another: {few} calls in {serial.wall:.2f} s wall time",
        f"                   ({each:.2f} s a call{sample})",
        f"Speed-up:          {each * many / parallel.wall:.1f} times, as measured",
    ]


def main(options: Namespace, console: Console) -> None:
    parallel, serial = asyncio.run(measure(options, console))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, expand=True)
    table.add_column("#", justify="right")
    table.add_column("time", justify="right")
    table.add_column("prompt", no_wrap=True)
    # What is left of the line, so that a long answer is cut and never the columns before it.
    table.add_column("answer", no_wrap=True, overflow="ellipsis", ratio=1)
    for number, call in enumerate(parallel.calls, 1):
        answer = Text(" ".join(demo.plain(call.answer).split()))
        table.add_row(str(number), demo.seconds(call.seconds), call.prompt, answer)
    console.print(table)
    console.print()
    for line in findings(parallel, serial):
        console.out(line, highlight=False)


def number_from(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise ArgumentTypeError(f"'{text}' is not a number from {least} on")
    return int(text)


if __name__ == "__main__":
    parser = demo.parser(__doc__)
    parser.add_argument(
        *("-n", "--calls"), type=lambda text: number_from(1, text), default=8, metavar="N", help="default: 8"
    )
    parser.add_argument(
        "--serial",
        type=lambda text: number_from(0, text),
        default=3,
        metavar="N",
        help="how many of them also one after another; 0: none (default: 3)",
    )
    sys.exit(demo.run(parser, main))
