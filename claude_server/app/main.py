"""Puts the parts together: the application, and the command line that serves it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence

import anyio
import structlog
from fastapi import APIRouter, FastAPI
from starlette.types import Scope

from claude_server.app.commands.table import COMMANDS, listing
from claude_server.app.descriptors import raise_limit
from claude_server.app.engine import cli_engine
from claude_server.app.guards import Guards, build_guards, install_guards
from claude_server.app.key_prompt import prompt_for_key
from claude_server.app.listen import listen, prepare, url_of
from claude_server.app.records import Records, records
from claude_server.app.reload import supervise
from claude_server.app.server import FOREIGN_SERVER, Server, http_config
from claude_server.app.tools import mcp_servers
from claude_server.app.workers import refuse_multiple_workers
from claude_server.configuration.child import login_variables
from claude_server.configuration.loading import load
from claude_server.configuration.settings import SERVICE, VERSION, ConfigError, Settings
from claude_server.core.admission import Admission
from claude_server.core.backend import Backend
from claude_server.core.counting import TokenCounter
from claude_server.core.reaper import SessionReaper
from claude_server.core.responses import Bounds, KeptResponses
from claude_server.core.retry import RetryPolicy
from claude_server.core.runner import Runner
from claude_server.core.thoughts import Thoughts
from claude_server.core.watchdog import Deadlines
from claude_server.dialects.base import Policy
from claude_server.dialects.table import dialect_of
from claude_server.engine.processes.argv import OWNER_MARK
from claude_server.http import errors, openapi, turns
from claude_server.http.admin import (
    auth,
    cli_tools,
    conversations,
    debug,
    health,
    mcp,
    models,
    pages,
    sessions,
)
from claude_server.http.admin import responses as responses_api
from claude_server.http.admin.auth import LoginFacts
from claude_server.http.head import HeadMiddleware
from claude_server.http.images import ImageFetcher
from claude_server.http.state import AppContext, Service
from claude_server.http.tool_requests import ToolPolicy
from claude_server.jobs.background import BackgroundJobs
from claude_server.telemetry import logs
from claude_server.telemetry.requests import RequestLogMiddleware
from claude_server.telemetry.turns import TurnLog
from claude_server.toolbox.servers import McpServers
from claude_server.toolbox.tool_configs import ToolConfigStore

log = structlog.get_logger("claude_api")


def create_app(settings: Settings | None = None, backend: Backend | None = None) -> FastAPI:
    """Build the application. `settings` None: from the environment and `.env`. `backend` None: the CLI.

    Without `settings`, ends the process if it is one of several uvicorn workers. Raises ConfigError.
    """
    if settings is None:
        refuse_multiple_workers()
        settings = load().settings
        logs.configure(settings.log_level, settings.log_format, settings.log_file)
        # Whoever calls it so brings an HTTP server along.
        log.warning(FOREIGN_SERVER)
    guards = build_guards(settings)
    engine: Backend = backend or cli_engine(settings)
    counter = TokenCounter(engine)
    stores = registry, thoughts, responses = records(settings)
    runner = Runner(
        engine,
        registry,
        Admission(settings.max_concurrency, settings.max_queue, settings.queue_timeout),
        RetryPolicy(settings.max_retries, settings.base_backoff),
        Deadlines(settings.timeout, settings.first_event_timeout, settings.idle_timeout),
        thoughts=Thoughts(thoughts),
        observers=(TurnLog(), counter),
    )
    bounds = Bounds(settings.responses_ttl, settings.responses_max, settings.responses_size)
    kept = KeptResponses(responses, bounds, settings.max_request_size)
    context = _app_context(settings, runner, counter, guards, kept)
    reaper = SessionReaper(engine, registry)
    lifespan = functools.partial(_lifespan, context=context, stores=stores, reaper=reaper, guards=guards)
    app = FastAPI(title=SERVICE, version=VERSION, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.context, app.state.guards = context, guards
    for router in _routers(settings, reaper):
        app.include_router(router)
    errors.install(app)
    openapi.install(app)
    # The innermost: the guards and the log see what was asked.
    app.add_middleware(HeadMiddleware)
    install_guards(app, guards, settings)
    # The outermost, since it is added last: refusals are logged too.
    app.add_middleware(RequestLogMiddleware, more_id_headers=id_headers)
    return app


def _routers(settings: Settings, reaper: SessionReaper) -> tuple[APIRouter, ...]:
    """In this order: where several could take a path, the first one does."""
    return (
        turns.build_router(),
        responses_api.router,
        conversations.router,
        models.router,
        sessions.build_router(reaper),
        auth.build_router(_login_facts(settings)),
        cli_tools.router,
        mcp.router,
        health.router,
        debug.build_router(settings.log_level == "debug"),
        pages.router,
    )


def _app_context(
    settings: Settings, runner: Runner, counter: TokenCounter, guards: Guards, kept: KeptResponses
) -> AppContext:
    """What the routes share, from the settings."""
    # With our mark, so that what an MCP server leaves behind is swept like leftovers of the CLI's tools.
    marked = {**settings.child_env, OWNER_MARK: str(os.getpid())}
    largest = settings.max_request_size
    return AppContext(
        runner=runner,
        kept=kept,
        jobs=BackgroundJobs(runner.run, kept, errors.failure_of, settings.max_queue),
        counter=counter,
        policy=_policy(settings),
        tool_policy=ToolPolicy(settings.allow_tools, settings.allow_bypass, settings.allow_mcp),
        tool_configs=ToolConfigStore(settings.state_dir),
        mcp=McpServers(settings.state_dir, marked, mcp_servers(settings)),
        ring=guards.ring,
        service=Service(SERVICE, VERSION, started_at=int(time.time())),
        max_request_size=largest,
        images=ImageFetcher(settings.image_size, largest) if settings.fetch_images else None,
    )


def _policy(settings: Settings) -> Policy:
    named = settings.reasoning_field
    return Policy(
        settings.default_model,
        settings.stream_mode,
        strict=settings.strict,
        sampling_models=settings.sampling_models,
        reasoning_field=None if named == "none" else named,
        reasoning_details=settings.reasoning_details,
        shows_tools=settings.show_tools,
        chunk_chars=settings.chunk_chars,
    )


def _login_facts(settings: Settings) -> LoginFacts:
    login = settings.login
    return LoginFacts(
        login.method, login.chosen_by, login.missing, tuple(login_variables(settings.child_env))
    )


def id_headers(scope: Scope) -> tuple[str, ...]:
    """Where a request's dialect has the request's id, beside x-request-id."""
    name = dialect_of(scope["path"], scope["headers"]).id_header
    return () if name is None else (name,)


@contextlib.asynccontextmanager
async def _lifespan(
    app: FastAPI,
    context: AppContext,
    stores: Records,
    reaper: SessionReaper,
    guards: Guards,
) -> AsyncIterator[None]:
    """Open the records, run the background tasks, and end everything at shutdown."""
    runner = context.runner
    # An exit stack: a step that fails doesn't keep the others from running.
    async with contextlib.AsyncExitStack() as ends:
        ends.push_async_callback(guards.window.close)
        for store in stores:
            await store.open()
            ends.push_async_callback(store.close)
            if store.moved_aside is not None:
                log.warning(f"{store.what} could not be read: moved aside", to=str(store.moved_aside))
        ends.push_async_callback(runner.backend.close)
        for work in (reaper.run(), context.kept.run(), context.mcp.resume()):
            ends.push_async_callback(_cancelled, asyncio.create_task(work))
        ends.callback(runner.drain.end)
        ends.push_async_callback(context.jobs.close)
        with anyio.CancelScope() as scope, runner.drain.on_cut(scope.cancel):
            await runner.backend.start()
        yield


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["serve"]:
        # What happens without a command, too.
        del arguments[0]
    try:
        if arguments and arguments[0] in COMMANDS:
            return COMMANDS[arguments[0]].main(arguments[1:])
        loaded = load(arguments, commands=listing())
        prepare(loaded.settings)
        if loaded.may_ask:
            prompt_for_key(loaded.settings)
        # Fail before a port is taken; the application builds its own guards.
        build_guards(loaded.settings)
        listener = listen(loaded)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{SERVICE} was not started.", file=sys.stderr)
        return 130
    for line in loaded.notes:
        print(line, flush=True)
    if loaded.reload:
        return supervise(functools.partial(serve_as_changed, arguments), listener)
    return serve(loaded.settings, listener)


def serve_as_changed(arguments: Sequence[str], listener: socket.socket) -> int:
    """Load the settings again and serve: each start under `--reload`."""
    try:
        settings = load(arguments).settings
        prepare(settings)
        build_guards(settings)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    return serve(settings, listener)


def serve(settings: Settings, listener: socket.socket) -> int:
    """Serve until a signal ends it; returns the exit status."""
    raise_limit()
    app = create_app(settings)
    url = url_of(settings.host, listener.getsockname()[1])
    server = Server(
        http_config(app),
        app.state.context.runner,
        drain_within=settings.drain_timeout,
        url=url,
        keyed=app.state.guards.ring.required,
    )
    asyncio.run(server.serve(sockets=[listener]))
    print(f"{SERVICE} has stopped.", flush=True)
    return 0
