"""The programs of a run: started in a folder of the run, looked at, and ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import psutil

from lab.bench.stats import Cpu

ROOT = Path(__file__).resolve().parents[2]
READY_WITHIN = 120.0
_END_WITHIN = 30.0
_LINE_CAP = 64 * 1024 * 1024
# Who gets what a program writes; `len` drops it.
Keep = Callable[[bytes], object]


class BenchError(Exception):
    """Why there is no benchmark, in a sentence."""


def environment(home: Path, api_url: str, cli: str, **more: str) -> dict[str, str]:
    """All that a program sees: nothing of the shell's. `home` takes what it writes."""
    home.mkdir(parents=True, exist_ok=True)
    # node is for a CLI that is a script.
    programs = [p for p in (shutil.which("node"), cli) if p]
    return {
        "PATH": os.pathsep.join([*(str(Path(p).parent) for p in programs), os.defpath]),
        "HOME": str(home),
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
        "ANTHROPIC_BASE_URL": api_url,
        "ANTHROPIC_API_KEY": "sk-ant-made-up",
        **more,
    }


def with_parent_death_signal(argv: Sequence[str]) -> list[str]:
    """The command so that it dies with us, even if we are killed: on Linux with util-linux's setpriv."""
    setpriv = shutil.which("setpriv", path=os.defpath) if sys.platform == "linux" else None
    return [setpriv, "--pdeathsig", "KILL", "--", *argv] if setpriv else list(argv)


async def spawn(
    argv: Sequence[str], env: Mapping[str, str], cwd: Path, *, errors: int = subprocess.DEVNULL
) -> asyncio.subprocess.Process:
    """A process with pipes, in a group of its own: Ctrl-C in the terminal reaches only us."""
    return await asyncio.create_subprocess_exec(
        *with_parent_death_signal(argv),
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        limit=_LINE_CAP,
        start_new_session=True,
    )


async def end(
    process: asyncio.subprocess.Process,
    sign: signal.Signals,
    within: float = _END_WITHIN,
    *,
    keep: Keep = len,
) -> None:
    """Signal it, and kill its group if it doesn't go."""
    if process.stdin is not None:
        process.stdin.close()
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(sign)
        # What it still writes must not fill the pipe and keep it.
        drain = asyncio.ensure_future(_drain(process, keep))
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(process.wait(), within)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        drain.cancel()
        await asyncio.gather(drain, return_exceptions=True)


async def _drain(process: asyncio.subprocess.Process, keep: Keep = len) -> None:
    if process.stdout is not None:
        while piece := await process.stdout.read(65536):
            keep(piece)


async def _ready(process: asyncio.subprocess.Process, pattern: str, what: str) -> str:
    """The first group of the first line that matches."""
    assert process.stdout is not None
    said: list[str] = []

    async def look() -> str:
        assert process.stdout is not None
        async for line in process.stdout:
            said.append(line.decode(errors="replace").rstrip())
            if found := re.search(pattern, said[-1]):
                return found[1]
        raise BenchError(f"{what} ended before it was ready: {' / '.join(said[-3:]) or 'it said nothing'}")

    try:
        return await asyncio.wait_for(look(), READY_WITHIN)
    except asyncio.TimeoutError:
        raise BenchError(f"{what} isn't ready after {READY_WITHIN:.0f} s.") from None


class Api:
    """The stand-in, by its control API; `engine` is for a server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.AsyncClient(base_url=url, timeout=30)

    async def close(self) -> None:
        await self._http.aclose()

    async def reply(self, reply: Mapping[str, object]) -> None:
        """From now on everything gets this answer."""
        (await self._http.put("/_standin/reply", content=json.dumps(reply))).raise_for_status()

    async def engine(self) -> str:
        """How the server uses the CLI."""
        return str((await self._http.get("/health")).json()["cli"]["engine"])

    async def forget(self) -> None:
        """Drop the requests that were kept."""
        (await self._http.delete("/_standin/requests")).raise_for_status()

    async def bodies(self) -> list[dict[str, Any]]:
        """The bodies of the requests for a message that were kept, in order."""
        kept = (await self._http.get("/_standin/requests")).json()
        return [each["body"] for each in kept if each["path"].endswith("/messages")]

    async def traffic(self) -> tuple[int, int]:
        """(bytes of request bodies, requests for a message) so far."""
        stats = (await self._http.get("/_standin/stats")).json()
        return int(stats["bytes_in"]), int(stats["turns"])


@contextlib.asynccontextmanager
async def standin(folder: Path, keep: int = 50) -> AsyncIterator[Api]:
    """The stand-in as a process of its own, which keeps so many requests."""
    argv = [sys.executable, "-m", "claude_server.standin", "--keep", str(keep)]
    env = {"PATH": os.defpath, "HOME": str(folder), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    process = await spawn(argv, env, folder)
    try:
        api = Api(await _ready(process, r"(http://\S+)", "The stand-in"))
        try:
            yield api
        finally:
            await api.close()
    finally:
        await end(process, signal.SIGINT)


class Server:
    """A running server. `ready_after`: seconds from its start to its ready line, seen at `ready_at`.

    `exit_status`: once it has been ended.
    """

    def __init__(self, url: str, pid: int, started: float, ready_at: float) -> None:
        self.url = url
        self.exit_status: int | None = None
        self.ready_at = ready_at
        self.ready_after = ready_at - started
        self.process = psutil.Process(pid)

    def cpu(self) -> Cpu:
        """Its own, and that of the processes that it started, the ended ones too."""
        times = self.process.cpu_times()
        ended = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
        live = sum(cpu_seconds(child) for child in self.workers())
        return Cpu(times.user + times.system, ended + live)

    def rss(self) -> int:
        return int(self.process.memory_info().rss)

    def workers(self) -> list[psutil.Process]:
        return list(self.process.children(recursive=True))


@contextlib.asynccontextmanager
async def server(
    env: Mapping[str, str],
    folder: Path,
    *,
    wrapped_in: Sequence[str] = (),
    keep: Keep | None = None,
) -> AsyncIterator[Server]:
    """The server on a free port. Raises BenchError if it doesn't get ready.

    `wrapped_in`: a command that its command line is given to. `keep` gets what it writes and logs once it is
    ready; None drops it.
    """
    argv = [*wrapped_in, sys.executable, str(ROOT / "claude_api.py"), "--port", "0"]
    started = time.perf_counter()
    errors = subprocess.DEVNULL if keep is None else subprocess.STDOUT
    process = await spawn(argv, env, folder, errors=errors)
    running: Server | None = None
    draining: asyncio.Future[None] | None = None
    try:
        url = await _ready(process, r"is ready on (\S+)", "The server")
        running = Server(url, process.pid, started, time.perf_counter())
        draining = asyncio.ensure_future(_drain(process, keep or len))
        yield running
    finally:
        if draining is not None:
            draining.cancel()
            await asyncio.gather(draining, return_exceptions=True)
        await end(process, signal.SIGINT, keep=keep or len)
        if running is not None:
            running.exit_status = process.returncode


def health(url: str) -> dict[str, Any]:
    """What the server says of itself. Blocks."""
    answer: dict[str, Any] = httpx.get(f"{url}/health", timeout=30, trust_env=False).json()
    return answer


def cpu_seconds(process: psutil.Process) -> float:
    """CPU of a process and of its children that ended; 0 for one that is gone."""
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    ended = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return float(times.user + times.system + ended)


def memory(processes: Sequence[psutil.Process]) -> dict[str, float]:
    """Mean MiB a process: resident, and (Linux) its share with what several have in common split up."""
    resident, shares = [], []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            info = process.memory_full_info()
            resident.append(info.rss)
            shares.append(getattr(info, "pss", info.rss))
    if not resident:
        return {}
    mib = 1024 * 1024 * len(resident)
    return {"processes": len(resident), "rss_mb": sum(resident) / mib, "pss_mb": sum(shares) / mib}


async def cli_version(cli: str, env: Mapping[str, str], folder: Path) -> str:
    """Raises BenchError if it doesn't run."""
    try:
        process = await spawn([cli, "--version"], env, folder)
    except OSError as error:
        raise BenchError(f"The claude CLI can't be started: {error.strerror}.") from None
    out, _ = await process.communicate()
    if process.returncode or not out.split():
        raise BenchError("The claude CLI doesn't tell its version.")
    return out.split()[0].decode(errors="replace")
