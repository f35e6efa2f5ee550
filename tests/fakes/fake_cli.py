"""A scripted `claude`: speaks just enough of the protocol to be driven, then misbehaves as its name says.

Started by a wrapper script that a fixture writes; never imported by the server.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

USAGE = {
    "input_tokens": 3,
    "cache_read_input_tokens": 2,
    "cache_creation_input_tokens": 1,
    "output_tokens": 4,
}
FOREVER = 600
# In the mode "as asked" the question is a fault's name and, after a "#", a word that the answer ends with.
ASKED = "as asked"
word = ""


def put(**frame: Any) -> None:
    sys.stdout.write(json.dumps(frame) + "\n")
    sys.stdout.flush()


def raw(*lines: str) -> None:
    sys.stdout.writelines(line + "\n" for line in lines)
    sys.stdout.flush()


def event(kind: str, **fields: Any) -> None:
    put(type="stream_event", event={"type": kind, **fields})


def begin(text: str) -> None:
    event("message_start", message={"model": "fake-model", "usage": USAGE})
    event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    event("content_block_delta", index=0, delta={"type": "text_delta", "text": text + word})


def finish() -> None:
    message = {"model": "fake-model", "content": []}
    put(type="assistant", message=message, uuid="00000000-0000-4000-8000-000000000001")
    event("content_block_stop", index=0)
    event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 4})
    event("message_stop")
    put(type="result", subtype="success", is_error=False, num_turns=1, usage=USAGE, total_cost_usd=0.01)


def good(text: str = "fine") -> None:
    begin(text)
    finish()


def wait() -> None:
    time.sleep(FOREVER)


def crash_mid_stream() -> None:
    begin("half of")
    os.kill(os.getpid(), signal.SIGKILL)


def hold_stdout() -> None:
    """A grandchild in a session of its own keeps stdout open for a while after the end."""
    subprocess.Popen(["sleep", "2"], start_new_session=True)
    begin("half of")
    os._exit(1)


def ignore_term() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    begin("slow")
    wait()


def until_told() -> None:
    """Wait for a file that the test makes."""
    while not (Path(os.environ["HOME"]) / "go-on").exists():
        time.sleep(0.02)


def exit_once() -> None:
    """Only the first process that is asked this does."""
    before = Path(os.environ["HOME"]) / f"exited-{word}"
    if not before.exists():
        before.touch()
        os._exit(3)
    good()


def flood() -> None:
    begin("")
    while True:
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": "x" * (1 << 16)})


def stall_with_child() -> None:
    """What the CLI starts is of its group."""
    subprocess.Popen(["sleep", str(FOREVER)])
    begin("half of")
    wait()


def then(*parts: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        for part in parts:
            part()

    return run


TURNS: Mapping[str, Callable[[], object]] = {
    "good": good,
    "silent": wait,
    "slow": then(lambda: begin("half of"), lambda: time.sleep(1), finish),
    "goes on when told": then(lambda: begin("half of"), until_told, finish),
    "stalls": then(lambda: begin("half of"), wait),
    "some garbage": then(lambda: raw(*["not json"] * 5), good),
    "a frame with something else in it": then(lambda: raw('{"type":"stream_ev' + "warning: x"), good),
    "only garbage": lambda: raw(*["not json"] * 50),
    "crash mid-stream": crash_mid_stream,
    "exit once": exit_once,
    "floods": flood,
    "stalls with a child": stall_with_child,
    "tells a key": lambda: (
        sys.stderr.write("Authorization: Bearer sk-ant-made-up was refused\n"),
        sys.stderr.flush(),
        os._exit(3),
    ),
    "exit at once": lambda: os._exit(3),
    "exit 1 after a good result": then(good, lambda: os._exit(1)),
    "hangs after the result": then(good, lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN), wait),
    "floods stderr": then(lambda: sys.stderr.write("x" * (1 << 20)), sys.stderr.flush, good),
    "a 40 MiB line": then(lambda: put(type="other", pad="x" * (40 << 20)), good),
    "a 70 MiB line": then(lambda: raw("x" * (70 << 20)), good),
    "holds stdout": hold_stdout,
    "ignores SIGTERM": ignore_term,
    "a frame out of shape": lambda: put(type="stream_event", event=None),
    "asks us something": then(
        lambda: put(type="control_request", request_id="q1", request={"subtype": "hook_callback"}),
        lambda: good(json.loads(sys.stdin.readline())["response"]["subtype"]),
    ),
    # The CLI's own words: it has asked nobody.
    "login expired": lambda: put(
        **{"type": "result", "subtype": "success", "is_error": True, "api_error_status": None},
        result="OAuth session expired and could not be refreshed",
    ),
    "limit reached": lambda: put(
        **{"type": "result", "subtype": "success", "is_error": True, "api_error_status": None},
        result="You've hit your limit",
    ),
    "unknown frames": then(lambda: put(type="news", subtype="today"), good),
}


def main(mode: str, version: str = "2.1.330") -> None:
    """Answer --version, or talk until the input ends."""
    global word
    if "--version" in sys.argv:
        print(f"{version} (Claude Code)")
        return
    account = {"tokenSource": "none", "apiKeySource": "none" if mode == "logged out" else "ANTHROPIC_API_KEY"}
    if mode == "hangs at the start":
        wait()
    if mode == "exits at the start":
        print("it is broken", file=sys.stderr)
        os._exit(3)
    for line in iter(sys.stdin.readline, ""):
        frame = json.loads(line)
        if frame["type"] == "control_request":
            answer = {"models": [{"value": "fake", "displayName": "Fake"}], "account": account}
            response = {"subtype": "success", "request_id": frame["request_id"], "response": answer}
            put(type="control_response", response=response)
        elif frame["type"] == "user" and frame.get("shouldQuery") is False:
            put(type="result", subtype="success", is_error=False, num_turns=0)
        elif frame["type"] == "user":
            turn = mode
            if mode == ASKED:
                text = "".join(block["text"] for block in frame["message"]["content"])
                turn, _, word = text.partition("#")
                with (Path(os.environ["HOME"]) / "asked").open("a") as asked:
                    asked.write(f"{word} {os.getpid()}\n")
            TURNS[turn]()
