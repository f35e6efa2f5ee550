"""The server's own life: what it says at its start, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Iterator

import structlog
import uvicorn
from fastapi import FastAPI

from claude_server.configuration.settings import SERVICE, VERSION
from claude_server.core.backend import EngineState
from claude_server.core.runner import Runner
from claude_server.http.guard.protocol import BoundedProtocol

# Seconds that the last words to clients may take once no turn runs.
_SHUTDOWN_GRACE = 2
# Seconds. Longer than clients and proxies keep an idle connection: they must close it first, or a request of
# theirs may meet its end.
_KEEP_ALIVE = 75

FOREIGN_SERVER = (
    "another program serves HTTP: here the size and the time of a request's headers have no limit, nor has "
    "the number of connections; 'python claude_api.py' (installed: 'claude-api') has these limits"
)

log = structlog.get_logger("claude_api")


def http_config(app: FastAPI) -> uvicorn.Config:
    """How uvicorn is to speak HTTP."""
    return uvicorn.Config(
        app,
        http=BoundedProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_SHUTDOWN_GRACE,
        # Whose word a forwarded address is, we decide ourselves: TRUSTED_PROXIES.
        proxy_headers=False,
    )


class Server(uvicorn.Server):
    """Says when it is ready, and ends with a sentence and status 0 on SIGINT and SIGTERM, where uvicorn would
    raise the signal once more.

    From the first signal on it still listens, so that /readyz can tell and new turns are refused in words.
    When no turn is left, or after `drain_within` seconds, or at a second signal, uvicorn closes the rest.
    """

    def __init__(
        self, config: uvicorn.Config, runner: Runner, *, drain_within: float, url: str, keyed: bool
    ) -> None:
        super().__init__(config)
        self._keyed = keyed
        self._backend = runner.backend
        self._drain = runner.drain
        self._drain_within = drain_within
        self._url = url
        self._shutdown_task: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for sign in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(sign, self._signalled)
        yield

    def _signalled(self) -> None:
        if self._shutdown_task is None:
            self._shutdown_task = asyncio.get_running_loop().create_task(self._shut_down())
        else:
            self._drain.end()

    async def _shut_down(self) -> None:
        log.info("shutting down", turns=self._drain.turns, within=self._drain_within)
        await self._drain.run(self._drain_within)
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._shutdown_task is None:
            print(greeting(self._url, self._backend.state, self._keyed), flush=True)
            if os.geteuid() == 0:
                log.warning("running as root, and so does the claude CLI: give the server a user of its own")


def _login(state: EngineState) -> str:
    """What is known of the login: no CLI asks the API whether a key or token from the environment is good."""
    if not state.logged_in:
        return "login not known" if state.logged_in is None else "not logged in"
    method = state.login_method or ""
    if method in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"):
        return f"{method} set, not checked"
    return f"logged in ({method})"


def greeting(url: str, state: EngineState, keyed: bool) -> str:
    """What a person sees at the start. `keyed`: clients need a key."""
    lines = [f"{SERVICE} {VERSION} is ready on {url}  (Ctrl-C stops it)"]
    if state.cli_version is not None:
        lines.append(f"claude CLI {state.cli_version}, {_login(state)}, engine: {state.level}")
    if state.problem is not None:
        lines.append(f"No turn can succeed yet: {state.problem}")
    key = "one of this server's keys" if keyed else '"not-used"'
    lines.append(f'OpenAI clients: base_url="{url}/v1", api_key={key}')
    return "\n".join(lines)
