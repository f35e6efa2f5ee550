"""The state folder, the log and the socket: what must be there before a server can run."""

from __future__ import annotations

import asyncio
import errno
import os
import socket

from claude_server.app.records import records
from claude_server.app.tools import mcp_servers, work_folder
from claude_server.configuration.loading import Loaded
from claude_server.configuration.settings import ConfigError, Settings
from claude_server.core.ports import StoreError
from claude_server.telemetry import logs

_PORTS_TRIED = 10


def make_state_folder(settings: Settings) -> None:
    """Make the state folder if it isn't there. Raises ConfigError if it can't be used."""
    try:
        settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(settings, error.strerror or str(error)) from None
    if not os.access(settings.state_dir, os.R_OK | os.W_OK | os.X_OK):
        raise _unusable(settings, "this user may not read and write in it")


def _unusable(settings: Settings, why: str) -> ConfigError:
    return ConfigError(
        f"The state folder {settings.state_dir} can't be used: {why}. "
        "Set CLAUDE_STATE_DIR (or --state-dir) to another folder, which this user may write to."
    )


def prepare(settings: Settings) -> None:
    """Make the state folder, look at its records and at the tools' folder, and set up the log.

    Raises ConfigError.
    """
    make_state_folder(settings)
    try:
        asyncio.run(_look_at_records(settings))
    except StoreError as error:
        # Root may do everything, but no file can be made in every folder.
        raise _unusable(settings, str(error)) from None
    work_folder(settings)
    mcp_servers(settings)
    try:
        logs.configure(settings.log_level, settings.log_format, settings.log_file)
    except OSError as error:
        raise ConfigError(
            f"LOG_FILE={settings.log_file} can't be written to: {error.strerror}. Name another file, "
            "or unset it to log to standard error."
        ) from None


async def _look_at_records(settings: Settings) -> None:
    for store in records(settings):
        await store.open()
        await store.close()
        if store.moved_aside is not None:
            what = store.what[0].upper() + store.what[1:]
            print(f"{what} could not be read; they are kept as {store.moved_aside}.", flush=True)


def url_of(host: str, port: int) -> str:
    """Where a client on this machine finds the server; one that listens everywhere, at its own loopback."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def listen(loaded: Loaded) -> socket.socket:
    """A socket on the port of the settings, or on the next free one where the port wasn't pinned.

    Raises ConfigError if there is none.
    """
    settings = loaded.settings
    tries = 1 if loaded.port_pinned or settings.port == 0 else _PORTS_TRIED
    for port in range(settings.port, min(settings.port + tries, 65536)):
        try:
            listener = _bound(settings.host, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            raise ConfigError(f"Can't listen on {settings.host}:{port}: {error.strerror}.") from None
        if port != settings.port:
            print(f"Port {settings.port} is taken; {port} is used.", flush=True)
        return listener
    raise ConfigError(f"Port {settings.port} is taken. Choose another one with --port.")


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's algorithm off; left on it costs 40 ms a reply.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener
