"""Use Claude from any OpenAI client, through the claude CLI that you are logged into.

python claude_api.py            serves http://127.0.0.1:8765
uvicorn --factory claude_api:create_app
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence

import structlog
import uvicorn
from fastapi import FastAPI

from claude_cli.engine import CliEngine, Options
from claude_cli.worker import Limits
from config import SERVICE, VERSION, ConfigError, Loaded, Settings, load
from guard.origin import LocalOnly
from routes import chat, errors, health, models, openapi
from routes.state import Shared
from sessions import SessionRegistry
from telemetry import logs
from telemetry.requests import RequestLog
from turns.admission import Admission
from turns.model import Backend, EngineState
from turns.retry import RetryPolicy
from turns.runner import Runner
from turns.watchdog import Deadlines

_PORTS_TRIED = 10

log = structlog.get_logger("claude_api")


def cli_engine(settings: Settings) -> CliEngine:
    """The engine on the CLI that the settings name."""
    return CliEngine(
        settings.claude_bin,
        settings.state_dir,
        settings.child_env,
        Options(
            level=settings.engine,
            setting_sources=settings.setting_sources,
            # A process that was given a system prompt can't serve a turn without one: room for both kinds.
            size=2 * settings.max_concurrency,
            kept_sessions=settings.kept_sessions,
            limits=Limits(
                turns=settings.worker_turns,
                age=settings.worker_age,
                idle=settings.worker_idle,
                memory=settings.worker_memory * 1024 * 1024,
            ),
            share=settings.share_workers,
        ),
    )


def create_app(settings: Settings | None = None, backend: Backend | None = None) -> FastAPI:
    """The application. `settings` None: from the environment and `.env`. `backend` None: the claude CLI."""
    if settings is None:
        settings = load().settings
        logs.configure(settings.log_level, settings.log_format, settings.log_file)
    engine: Backend = backend or cli_engine(settings)
    sessions = SessionRegistry(settings.state_dir)
    runner = Runner(
        engine,
        sessions,
        Admission(settings.max_concurrency, settings.max_queue, settings.queue_timeout),
        RetryPolicy(settings.max_retries, settings.base_backoff),
        Deadlines(settings.timeout, settings.first_event_timeout, settings.idle_timeout),
    )

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await sessions.open()
        if sessions.moved_aside is not None:
            log.warning("the session records could not be read: moved aside", to=str(sessions.moved_aside))
        try:
            await engine.start()
            yield
        finally:
            await engine.close()
            await sessions.close()

    # No /docs: its page loads scripts from elsewhere into our own origin, and those could spend the account.
    app = FastAPI(title=SERVICE, version=VERSION, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.shared = Shared(
        runner=runner,
        backend=engine,
        default_model=settings.default_model,
        stream_mode=settings.stream_mode,
        chunk_chars=settings.chunk_chars,
        service=SERVICE,
        version=VERSION,
        started_at=int(time.time()),
        max_request_size=settings.max_request_size,
    )
    for part in (chat, models, health):
        app.include_router(part.router)
    errors.install(app)
    openapi.install(app)
    # The one added last is the outermost: refusals are logged too.
    app.add_middleware(LocalOnly)
    app.add_middleware(RequestLog)
    return app


def prepare(settings: Settings) -> None:
    """Make the state folder and set up the log. Raises ConfigError if they can't be used."""
    try:
        settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"CLAUDE_STATE_DIR={settings.state_dir} can't be used: {error.strerror}.") from None
    if not os.access(settings.state_dir, os.W_OK):
        raise ConfigError(f"CLAUDE_STATE_DIR={settings.state_dir} can't be written to.")
    try:
        logs.configure(settings.log_level, settings.log_format, settings.log_file)
    except OSError as error:
        raise ConfigError(f"LOG_FILE={settings.log_file} can't be written to: {error.strerror}.") from None


def listen(loaded: Loaded) -> socket.socket:
    """A socket on the port of the settings, or on the next free one where the port wasn't pinned.

    Raises ConfigError if there is none.
    """
    settings = loaded.settings
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    tries = 1 if loaded.port_pinned or settings.port == 0 else _PORTS_TRIED
    for port in range(settings.port, min(settings.port + tries, 65536)):
        # With the protocol named, asyncio turns Nagle's algorithm off; left on it costs 40 ms a reply.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, port))
        except OSError as error:
            listener.close()
            if error.errno == errno.EADDRINUSE:
                continue
            raise ConfigError(f"Can't listen on {settings.host}:{port}: {error.strerror}.") from None
        if port != settings.port:
            print(f"Port {settings.port} is taken; {port} is used.", flush=True)
        return listener
    raise ConfigError(f"Port {settings.port} is taken. Choose another one with --port.")


async def doctor(settings: Settings) -> int:
    """Look at the installed CLI, as the server would, and say what was found; 0 if turns can succeed."""
    engine = cli_engine(settings)
    try:
        await engine.start()
        state = engine.state
    finally:
        await engine.close()
    print(f"{'ok' if state.ready else 'NOT READY'}: claude CLI {state.cli_version or 'not found'}")
    print(f"login: {state.login_method or 'none'}")
    print(f"engine: {state.level}")
    for ability, found in state.abilities.items():
        print(f"  {'yes' if found else 'no ':3} {ability}")
    if state.problem is not None:
        print(state.problem)
    return 0 if state.ready else 1


class _Server(uvicorn.Server):
    """Says when it is ready, and ends with a sentence and status 0 on SIGINT and SIGTERM, where uvicorn would
    raise the signal once more."""

    def __init__(self, config: uvicorn.Config, backend: Backend, url: str) -> None:
        super().__init__(config)
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
            print(greeting(self._url, self._backend.state), flush=True)


def greeting(url: str, state: EngineState) -> str:
    """What a person sees at the start."""
    lines = [f"{SERVICE} {VERSION} is ready on {url}  (Ctrl-C stops it)"]
    if state.cli_version is not None:
        login = {True: f"logged in ({state.login_method})", False: "not logged in", None: "login not known"}
        lines.append(f"claude CLI {state.cli_version}, {login[state.logged_in]}, engine: {state.level}")
    if state.problem is not None:
        lines.append(f"No turn can succeed yet: {state.problem}")
    lines.append(f'OpenAI clients: base_url="{url}/v1", api_key="not-used"')
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    try:
        loaded = load(sys.argv[1:] if argv is None else argv)
        if loaded.doctor:
            logs.configure("warning", "console", None)
            return asyncio.run(doctor(loaded.settings))
        prepare(loaded.settings)
        listener = listen(loaded)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    settings = loaded.settings
    for line in loaded.notes:
        print(line, flush=True)
    app = create_app(settings)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{host}:{listener.getsockname()[1]}"
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=30)
    asyncio.run(_Server(config, app.state.shared.backend, url).serve(sockets=[listener]))
    print(f"{SERVICE} has stopped.", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
