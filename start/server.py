"""The server's own life: what it says at its start, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator

import uvicorn

from config import SERVICE, VERSION
from turns.model import Backend, EngineState


class Server(uvicorn.Server):
    """Says when it is ready, and ends with a sentence and status 0 on SIGINT and SIGTERM, where uvicorn would
    raise the signal once more."""

    def __init__(self, config: uvicorn.Config, backend: Backend, url: str, *, keyed: bool) -> None:
        super().__init__(config)
        self._keyed = keyed
        self._backend = backend
        self._url = url

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for sign in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(sign, self.handle_exit, sign, None)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print(greeting(self._url, self._backend.state, self._keyed), flush=True)


def greeting(url: str, state: EngineState, keyed: bool) -> str:
    """What a person sees at the start. `keyed`: clients need a key."""
    lines = [f"{SERVICE} {VERSION} is ready on {url}  (Ctrl-C stops it)"]
    if state.cli_version is not None:
        login = {True: f"logged in ({state.login_method})", False: "not logged in", None: "login not known"}
        lines.append(f"claude CLI {state.cli_version}, {login[state.logged_in]}, engine: {state.level}")
    if state.problem is not None:
        lines.append(f"No turn can succeed yet: {state.problem}")
    key = "one of this server's keys" if keyed else '"not-used"'
    lines.append(f'OpenAI clients: base_url="{url}/v1", api_key={key}')
    return "\n".join(lines)
