"""What the installed CLI says of itself: version, models, login. Spends no tokens."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from claude_server.core.errors import NotReady, TurnError
from claude_server.core.model import ModelInfo
from claude_server.descriptors import check_room_for_start
from claude_server.engine.processes import argv
from claude_server.engine.processes.argv import Launch
from claude_server.engine.processes.step_runner import StepRunner
from claude_server.engine.processes.table import ProcessTable
from claude_server.engine.protocol.control import initialize
from claude_server.engine.protocol.frames import Frame
from claude_server.engine.protocol.redact import redacted

_ANSWER_TIMEOUT = 30.0
INSTALL_HINT = "Install it with `npm install -g @anthropic-ai/claude-code`, or set CLAUDE_BIN to where it is."


@dataclass(frozen=True, slots=True)
class CliInfo:
    """The CLI as found. `logged_in` None: it doesn't tell."""

    version: tuple[int, int, int]
    models: tuple[ModelInfo, ...]
    logged_in: bool | None
    login_method: str | None

    @property
    def version_text(self) -> str:
        return ".".join(map(str, self.version))


def find_binary(name: str, path: str | None) -> str:
    """The absolute path of the CLI: on `path`, or beside this Python, where `make serve` puts one. Raises
    NotReady."""
    # Not by Path: it drops the "./" that says not to look on PATH.
    wanted = os.path.expanduser(name)  # noqa: PTH111
    found = shutil.which(wanted, path=path) or shutil.which(wanted, path=str(Path(sys.executable).parent))
    if found is None:
        raise NotReady(f"The claude CLI was not found as '{name}'. {INSTALL_HINT}")
    # Not resolved: a version manager's link may point elsewhere tomorrow.
    return str(Path(found).absolute())


async def read_version(binary: str, environ: Mapping[str, str]) -> tuple[int, int, int]:
    """The CLI's version. Raises NotReady for one that doesn't run or is too old."""
    try:
        check_room_for_start()
        process = await asyncio.create_subprocess_exec(
            *(binary, "--version"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(environ),
        )
    except OSError as error:
        raise NotReady(f"{binary} can't be started: {error}. {INSTALL_HINT}") from error
    try:
        out, err = await asyncio.wait_for(process.communicate(), _ANSWER_TIMEOUT)
    except asyncio.TimeoutError:
        raise NotReady(f"{binary} --version didn't answer within {_ANSWER_TIMEOUT:g} s.") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    version = argv.parse_version(out.decode("utf-8", "replace"))
    if version is None:
        said = redacted((err or out).decode("utf-8", "replace")).strip()[:300]
        raise NotReady(f"{binary} --version told no version: {said or 'nothing'}. {INSTALL_HINT}")
    if version < argv.OLDEST:
        wanted = ".".join(map(str, argv.OLDEST))
        have = ".".join(map(str, version))
        raise NotReady(f"The claude CLI is {have}; this server needs {wanted} or newer. Update it.")
    return version


async def handshake(table: ProcessTable) -> Frame:
    """A process's answer to `initialize`. Raises NotReady, and Overloaded where no process can be started."""
    process = await table.start(Launch())
    try:
        (answer,) = await StepRunner(process).run([initialize("")], _ANSWER_TIMEOUT)
        return answer
    except TurnError as error:
        raise NotReady(f"The claude CLI doesn't start: {error.message}") from error
    finally:
        table.retire(process, now=True)


def parse_info(version: tuple[int, int, int], answer: Frame) -> CliInfo:
    """The answer to `initialize`, read."""
    models = tuple(
        ModelInfo(
            model["value"],
            model.get("displayName") or model["value"],
            model.get("resolvedModel"),
            bool(model.get("supportsAdaptiveThinking")),
        )
        for model in answer.get("models") or ()
        if isinstance(model, dict) and isinstance(model.get("value"), str)
    )
    logged_in, method = _login(answer.get("account"))
    return CliInfo(version, models, logged_in, method)


def _login(account: object) -> tuple[bool | None, str | None]:
    if not isinstance(account, dict):
        return None, None
    provider = account.get("apiProvider", "firstParty")
    if provider != "firstParty":
        return True, str(provider)
    # A key or token from the environment is used before a login, and is named so.
    for name in ("apiKeySource", "tokenSource"):
        source = account.get(name)
        if source and source != "none":
            return True, str(source)
    # A login tells of the account instead.
    plan = account.get("subscriptionType")
    if plan or account.get("email"):
        return True, f"claude.ai {plan}" if plan else "claude.ai"
    return False, None
