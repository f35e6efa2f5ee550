"""What the tests share: the real server as a subprocess, with an environment built from nothing."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx
from openai import OpenAI

from claude_server.core.backend import Attempt, EngineState
from claude_server.core.errors import NotReady
from claude_server.core.model import AttemptRequest, ModelInfo, TurnRequest
from claude_server.engine.discovery import selftest
from claude_server.engine.processes.binary_cache import signature_of
from claude_server.engine.workers.state import Abilities
from tests.forking import ForkedServer

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60.0
BASE_PATH = "/usr/bin:/bin"
# Of all processes of a run with xdist; None: there is one process.
shared_folder: Path | None = None
PROGRAM = (sys.executable, str(ROOT / "claude_api.py"))


class IdleBackend:
    """An engine that serves nothing, in the state that a test says."""

    models: tuple[ModelInfo, ...] = ()

    def __init__(self, state: EngineState | None = None) -> None:
        self.state = state or EngineState(ready=True, level="warm")

    async def start(self) -> None: ...

    def probe_if_due(self) -> None: ...

    async def close(self) -> None: ...

    async def recheck_login(self) -> None: ...

    def open(self, request: AttemptRequest) -> Attempt:
        raise AssertionError("no turn was to be started")

    async def count_tokens(self, turn: TurnRequest) -> int:
        raise NotReady("nothing can be counted")

    def has_transcript(self, session_uuid: str, mark: str = "", *, tools: bool = False) -> bool:
        return False

    def kept_sessions(self) -> frozenset[str]:
        return frozenset()

    def end_session(self, session_uuid: str) -> None:
        raise AssertionError("there is no session's process")

    async def erase(self, session_uuid: str) -> bool:
        return False


class Clock:
    """A clock that stands until it is moved: its `now` is in seconds."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def abilities_of(binary: str) -> Abilities:
    """What the self-test finds, once for each binary in a run of the tests, by however many processes and
    links to it."""
    return _abilities_of(os.path.realpath(binary))


@functools.lru_cache
def _abilities_of(binary: str) -> Abilities:
    if shared_folder is None:
        return _self_test(binary)
    name = hashlib.sha256(binary.encode()).hexdigest()[:16]
    store = selftest.AbilityStore(shared_folder / f"abilities-{name}.json")
    with (shared_folder / f"abilities-{name}.lock").open("w") as lock:
        # Who comes second waits for what the first one finds.
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = store.load(signature_of(binary))
        if found is None:
            found = _self_test(binary)
            store.save(signature_of(binary), found)
    return found


def _self_test(binary: str) -> Abilities:
    abilities, sure = asyncio.run(selftest.run(binary, BASE_PATH))
    assert sure
    return abilities


def seed_abilities(home: Path, binary: str, abilities: Abilities) -> None:
    """As if a server had tried this binary before."""
    state = home / "state"
    state.mkdir(parents=True, exist_ok=True)
    selftest.AbilityStore(state / "abilities.json").save(signature_of(binary), abilities)


def clean_environment(home: Path, api_url: str, **more: str) -> dict[str, str]:
    """What a server and its CLI may see: nothing of the shell's. A CLI named by CLAUDE_BIN has been tried."""
    binary = more.get("CLAUDE_BIN", "")
    if Path(binary).is_file() and more.get("CLAUDE_ENGINE", "warm") in ("auto", "warm", "keyed"):
        seed_abilities(home, binary, abilities_of(binary))
    return {
        "PATH": BASE_PATH,
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "ANTHROPIC_BASE_URL": api_url,
        "ANTHROPIC_API_KEY": "sk-ant-made-up",
        "CLAUDE_STATE_DIR": str(home / "state"),
        # As few as can be: each takes a second of a processor, which few tests want.
        "CLAUDE_WARM_WORKERS": "1",
        **more,
    }


class Server:
    """`python claude_api.py` on a free port, in a folder of its own; or another command and folder.

    Without `command` it is forked, see tests/forking.py; PROGRAM is the command that starts it anew. With
    `wait` off it may not be ready yet."""

    def __init__(
        self,
        home: Path,
        environment: Mapping[str, str],
        *arguments: str,
        command: Sequence[str] = (),
        folder: Path | None = None,
        wait: bool = True,
    ) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.process: subprocess.Popen[str] | ForkedServer
        if command:
            self.process = subprocess.Popen(
                [*command, *arguments],
                env=dict(environment),
                cwd=folder or home,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        else:
            self.process = ForkedServer(arguments or ("--port", "0"), environment, folder or home)
        self.output: list[str] = []
        self._more = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = self.wait_for_line(r"is ready on (\S+)") if wait else ""
        self.base_url = f"{self.url}/v1"

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._more:
                self.output.append(line.rstrip("\n"))
                self._more.notify_all()
        with self._more:
            self._ended = True
            self._more.notify_all()

    def wait_for_line(self, pattern: str, start: int = 0) -> str:
        """The first group (or all) of the first output line from `start` on that matches."""

        def found() -> re.Match[str] | None:
            return next((m for line in self.output[start:] if (m := re.search(pattern, line))), None)

        with self._more:
            self._more.wait_for(lambda: found() or self._ended, PATIENCE)
            match = found()
            assert match, f"no {pattern!r} in the server's output:\n" + "\n".join(self.output)
            return match[1] if match.groups() else match[0]

    def client(self, **options: object) -> OpenAI:
        """An openai client that doesn't retry by itself."""
        return OpenAI(base_url=self.base_url, api_key="not-used", max_retries=0, timeout=PATIENCE, **options)  # type: ignore[arg-type]

    def health(self) -> dict[str, dict[str, object]]:
        body: dict[str, dict[str, object]] = httpx.get(f"{self.url}/health").json()
        return body

    def claude_processes(self) -> list[int]:
        """The CLI processes that this server started and that are alive."""
        return processes_of(self.process.pid)

    def stop(self, sign: signal.Signals = signal.SIGINT) -> int:
        """End it and wait; the exit status."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(sign)
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


def processes_of(server: int) -> list[int]:
    """Processes that carry the mark of the server with this id, by Linux's /proc."""
    mark = f"CLAUDE_API_OWNER={server}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                if mark in (folder / "environ").read_bytes().split(b"\0") and state != "Z":
                    found.append(int(folder.name))
    return found


@contextlib.contextmanager
def serving(home: Path, environment: Mapping[str, str], *arguments: str) -> Iterator[Server]:
    """A server for a while; nothing of it is left afterwards."""
    server = Server(home, environment, *arguments)
    try:
        yield server
    finally:
        server.stop()
    assert server.claude_processes() == []


def wait_until_gone(pids: list[int], seconds: float = 5.0) -> None:
    """Wait for processes that aren't our children to end."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                import select

                ready, _, _ = select.select([handle], [], [], seconds)
                assert ready, f"process {pid} is still there"
            finally:
                os.close(handle)
