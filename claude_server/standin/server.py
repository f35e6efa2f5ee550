"""`StandIn`: the application on a loopback port, in a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Collection
from types import TracebackType
from typing import Any

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.server import ServerState

from claude_server.standin.app import DROP, Responder, StandInApp
from claude_server.standin.caching import PromptCache
from claude_server.standin.log import KEEP_BYTES, PENDING, ApiRequest, RequestLog
from claude_server.standin.respond import default_reply
from claude_server.standin.script import Answer

__all__ = ["StandIn", "listen", "serve_on"]

HOST = "127.0.0.1"
# Longer than any pause between two turns of a test: the API doesn't close idle connections early either.
_KEEP_ALIVE_SECONDS = 300
# For answers to notice that they are stopped; they do in the next turn of the loop.
_STOP_SECONDS = 5.0
_BACKLOG = 2048


class _Config(uvicorn.Config):
    def configure_logging(self) -> None:
        """Nothing: uvicorn's loggers belong to the whole process, which may serve something else."""


async def serve_on(sock: socket.socket, app: StandInApp, stop: asyncio.Event) -> None:
    """Serve `app` on a bound socket until `stop` is set, then end what is open and close the socket.

    uvicorn's protocol without uvicorn's server: that one logs, handles signals and polls for its end,
    none of which a guest in somebody else's process should do.
    """
    loop = asyncio.get_running_loop()
    config = _Config(
        app,
        interface="asgi3",
        ws="none",
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
    )
    config.load()
    state = ServerState()
    server = await loop.create_server(lambda: _protocol(config, state, loop), sock=sock, backlog=_BACKLOG)
    try:
        await stop.wait()
    finally:
        server.close()
        app.stop()
        for connection in list(state.connections):
            connection.transport.abort()
        # An aborted transport closes its socket in the next turn of the loop.
        await asyncio.sleep(0)
        await _finish(set(state.tasks))
        await server.wait_closed()


async def _finish(tasks: set[asyncio.Task[None]]) -> None:
    """Wait for answers that were told to end, and cancel those that don't."""
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=_STOP_SECONDS)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)


def listen(port: int = 0) -> socket.socket:
    """A listening loopback socket; connections wait in its backlog until it is served."""
    # asyncio turns Nagle's algorithm off only if the protocol is named; with it on, a response whose head
    # and body are two writes takes 40 ms.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((HOST, port))
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def _protocol(config: uvicorn.Config, state: ServerState, loop: asyncio.AbstractEventLoop) -> Any:
    app_state: dict[str, Any] = {}
    kind: Any = AutoHTTPProtocol
    made = kind(config=config, server_state=state, app_state=app_state, _loop=loop)
    # A logger outside the hierarchy: a reply that is cut on purpose must not show up as an error.
    made.logger = made.access_logger = _SILENT
    made.access_log = False
    app_state[DROP] = lambda: made.transport.abort()
    return made


_SILENT = logging.Logger("standin", level=logging.CRITICAL + 1)


class StandIn:
    """A running stand-in for the Messages API, to be used as a context manager.

        with StandIn() as api:
            api.push(Reply.of("hello"))
            ...  # run something with ANTHROPIC_BASE_URL=api.url and any ANTHROPIC_API_KEY
            assert api.last.last_user_text == "hi"

    port: 0 takes a free one; always on 127.0.0.1. For the other arguments see `StandInApp`, `PromptCache`
    and `RequestLog`. All methods may be called from any thread; those that wait block, so a coroutine
    awaits `asyncio.to_thread(api.wait_for_turns, 1)`. The responder runs in the stand-in's thread and must
    not block.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        keys: Collection[str] | None = None,
        responder: Responder = default_reply,
        strict: bool = True,
        minimum_cache_tokens: int = 0,
        keep: int = 10_000,
        keep_bytes: int = KEEP_BYTES,
    ) -> None:
        self.app = StandInApp(
            keys=keys,
            responder=responder,
            strict=strict,
            cache=PromptCache(minimum_tokens=minimum_cache_tokens),
            log=RequestLog(keep=keep, keep_bytes=keep_bytes),
        )
        self.url = ""
        self._port = port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<StandIn {self.url or 'not running'} {self.app.log!r}>"

    def __enter__(self) -> StandIn:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Listen and serve. Raises OSError if the port is taken."""
        if self._thread is not None:
            raise RuntimeError(f"{self!r} is already running")
        sock = listen(self._port)
        self.url = f"http://{HOST}:{sock.getsockname()[1]}"
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(
            target=self._run, args=(self._loop, sock), name="standin", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """End all answers and connections, and wait for the thread. The log can still be read."""
        if self._thread is None or self._loop is None:
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._thread = self._loop = None
        self.url = ""

    def _run(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        try:
            loop.run_until_complete(serve_on(sock, self.app, self._stop))
        finally:
            sock.close()
            loop.close()

    def push(self, *answers: Answer | str) -> None:
        """Answers for the next requests to /v1/messages, one each, in order of arrival."""
        self.app.push(*answers)

    @property
    def responder(self) -> Responder:
        """What answers when nothing is pushed; may be replaced at any time."""
        return self.app.responder

    @responder.setter
    def responder(self, responder: Responder) -> None:
        self.app.responder = responder

    @property
    def requests(self) -> list[ApiRequest]:
        """All kept requests, oldest first."""
        return self.app.log.snapshot()

    @property
    def turns(self) -> list[ApiRequest]:
        """The requests among them that ask the model: POST /v1/messages."""
        return [request for request in self.requests if request.is_turn]

    @property
    def last(self) -> ApiRequest:
        """The latest of `turns`. Raises IndexError if there is none."""
        return self.turns[-1]

    @property
    def requests_seen(self) -> int:
        """How many requests came in all, dropped and cleared ones included."""
        return self.app.log.requests_seen

    @property
    def failures(self) -> list[Exception]:
        """What the responder raised, and any fault of the stand-in itself; the last hundred."""
        return list(self.app.failures)

    def clear(self) -> None:
        """Forget the kept requests and the queue; the responder, the counters and the prompt cache stay."""
        self.app.clear()

    def reset(self) -> None:
        """For a stand-in that tests share: all of `clear`, and the cache, the failures and the responder.

        Only the counters go on. Answers that are still on their way are not ended.
        """
        self.app.reset()

    def clear_cache(self) -> None:
        """Forget what is cached, as if all prompts had been idle for too long."""
        self.app.cache.clear()

    def wait_for_turns(self, count: int, timeout: float = 10.0) -> list[ApiRequest]:
        """Block until `count` turns came since the start or the last `clear`; returns `turns`.

        timeout: seconds. Raises TimeoutError.
        """
        log = self.app.log
        if not log.wait(lambda: log.turns_since_clear() >= count, timeout):
            raise TimeoutError(f"{log.turns_since_clear()} of {count} turns after {timeout} s")
        return self.turns

    def wait_ended(self, request: ApiRequest, timeout: float = 10.0) -> str:
        """Block until the answer to `request` ended; returns its outcome. Raises TimeoutError."""
        if not self.app.log.wait(lambda: request.outcome != PENDING, timeout):
            raise TimeoutError(f"the answer to request {request.number} goes on after {timeout} s")
        return request.outcome
