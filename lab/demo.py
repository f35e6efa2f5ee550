"""`python -m lab.demo`: the demos, on a real server with the real CLI, without an account.

Starts the stand-in with a talkative responder, a server on a free port that uses it, and the three demos one
after another. All that is written goes to a temporary folder.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from claude_server.standin.log import ApiRequest
from claude_server.standin.script import Reply
from claude_server.standin.server import StandIn

ROOT = Path(__file__).resolve().parent.parent
DEMOS = ("parallel_client_demo.py", "multi_turn_demo.py", "session_demo.py")
INSTALL = "pip install -r requirements-dev.txt"
# Longer than the server gives its own children.
_END_SECONDS = 60.0
_STOPPING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)

_CAPITALS = {
    "Portugal": "Lisbon",
    "Japan": "Tokyo",
    "Kenya": "Nairobi",
    "Peru": "Lima",
    "Norway": "Oslo",
    "Egypt": "Cairo",
    "Canada": "Ottawa",
    "India": "New Delhi",
}
# What is told, what asks for it, and how it is said again.
_FACTS = (
    (r"my name is (\w+)", r"my name", "Your name is {}."),
    (r"I(?:'m| am) an? ([^,.]+)", r"for a living|my job|I work", "You are a {}."),
    (r"I live in ([A-Z]\w+)", r"I live", "You live in {}."),
)


class DemoError(Exception):
    """Why there is no demo, in a sentence."""


def respond(request: ApiRequest) -> Reply:
    """An answer from what was told earlier in the conversation, slow enough to be seen coming."""
    return Reply.of(answer(request.conversation), first_delay=0.3, delay=0.03, chunk_chars=5)


def answer(conversation: list[tuple[str, str]]) -> str:
    """The answer to the last message of (role, text) pairs."""
    asked = [text for role, text in conversation if role == "user"]
    last = asked[-1] if asked else ""
    for country, capital in _CAPITALS.items():
        if country in last:
            return f"The capital of {country} is {capital}."
    if "?" in last:
        for told, question, said in _FACTS:
            if re.search(question, last, re.IGNORECASE):
                found = re.findall(told, "\n".join(asked), re.IGNORECASE)
                return said.format(found[-1]) if found else "You haven't told me yet."
    name = re.search(_FACTS[0][0], last, re.IGNORECASE)
    if name:
        return f"Nice to meet you, {name[1]}. I'll remember that."
    return f"I'm only a stand-in for Claude, so all I can say is that you said: {last}"


def find_cli() -> str:
    """The CLI in the wheel of claude-agent-sdk, else the one on PATH. Raises DemoError."""
    package = importlib.util.find_spec("claude_agent_sdk")
    if package is not None and package.origin is not None:
        bundled = Path(package.origin).parent / "_bundled" / "claude"
        if bundled.exists():
            return str(bundled)
    found = shutil.which("claude")
    if found is None:
        raise DemoError(f"The demo needs the claude CLI; get it with: {INSTALL}")
    return found


def environment(home: Path, cli: str, url: str) -> dict[str, str]:
    """All that the server and its CLI get to see. `home` takes all that they write."""
    # node is for a CLI that is a script.
    programs = [shutil.which("node"), cli]
    folders = [str(Path(program).parent) for program in programs if program]
    return {
        "PATH": os.pathsep.join([*folders, os.defpath]),
        "HOME": str(home),
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": "sk-ant-made-up",
        "CLAUDE_BIN": cli,
        "CLAUDE_STATE_DIR": str(home / "state"),
    }


def version(cli: str, env: Mapping[str, str]) -> str:
    """The CLI's version. Raises DemoError if it doesn't run."""
    try:
        ran = subprocess.run([cli, "--version"], env=env, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise DemoError(f"The claude CLI doesn't run ({error}). Get another one with: {INSTALL}") from None
    return ran.stdout.split()[0] if ran.stdout.strip() else "of an unknown version"


@contextlib.contextmanager
def server(home: Path, env: Mapping[str, str]) -> Iterator[str]:
    """A running server; gives its base_url. Raises DemoError if it doesn't get ready."""
    log = home / "server.log"
    process: subprocess.Popen[str] | None = None
    try:
        with log.open("w") as errors, _undisturbed():
            process = subprocess.Popen(
                [sys.executable, str(ROOT / "claude_api.py"), "--port", "0"],
                env=env,
                # Its own folder: a .env in ours is for another server.
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                # Ctrl-C is for us; the server is told when the demos have ended.
                start_new_session=True,
            )
        yield _ready(process, log)
    finally:
        if process is not None:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=_END_SECONDS)
    except BaseException as error:
        # Too slow, or a second Ctrl-C.
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Signals wait: one in the middle of a start would leave the process behind."""
    held: list[int] = []
    before = {number: signal.signal(number, lambda got, _: held.append(got)) for number in _STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for got in held:
            signal.raise_signal(got)


def _ready(process: subprocess.Popen[str], log: Path) -> str:
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        found = re.search(r'base_url="([^"]+)"', line)
        if found:
            return found[1]
    raise DemoError("The server did not start:\n" + "".join(said) + log.read_text())


def run_demo(name: str, base_url: str) -> bool:
    """Run one demo as a user does; tells whether it went well."""
    print(f"\n$ python {name}", flush=True)
    process = subprocess.Popen(
        [sys.executable, str(ROOT / name), "--base-url", base_url],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # As above; its own words about being interrupted would come on top of ours.
        start_new_session=True,
    )
    try:
        _, errors = process.communicate()
    except BaseException:
        process.send_signal(signal.SIGINT)
        process.communicate()
        raise
    sys.stderr.write(errors)
    return process.returncode == 0


def run() -> int:
    """Run all; returns the exit status."""
    cli = find_cli()
    with (
        tempfile.TemporaryDirectory(prefix="claude-api-demo-") as folder,
        StandIn(responder=respond) as api,
    ):
        home = Path(folder)
        env = environment(home, cli, api.url)
        print(f"The real claude CLI {version(cli, env)} runs here, with a stand-in for the Anthropic API:")
        print("the answers are made up, no account is needed, and nothing leaves this machine.")
        print("The server tries the CLI out first, which takes some seconds ...", flush=True)
        with server(home, env) as base_url:
            failed = [name for name in DEMOS if not run_demo(name, base_url)]
        if failed:
            print(f"\nNot well: {', '.join(failed)}. The server's log:", file=sys.stderr)
            print((home / "server.log").read_text(), file=sys.stderr)
    if not failed:
        print("\nThat server is gone now, and the conversation with it.")
        print("The same with your own account: python claude_api.py, then any of the demos.")
    return 1 if failed else 0


def main() -> int:
    """The command line; returns the exit status."""
    argparse.ArgumentParser(prog="python -m lab.demo", description=(__doc__ or "")).parse_args()
    for number in _STOPPING:
        # Whatever ends us, the server and the folder don't stay.
        signal.signal(number, signal.default_int_handler)
    try:
        return run()
    except DemoError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
