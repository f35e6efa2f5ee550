"""A binary tried out, on loopback."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from claude_server.engine.processes.binary_cache import signature_of
from claude_server.engine.processes.table import ProcessTable
from claude_server.standin import StandIn


@contextlib.asynccontextmanager
async def sandbox(binary: str, path: str) -> AsyncIterator[tuple[ProcessTable, StandIn]]:
    """Processes of the CLI at `binary` and the stand-in that they talk to; `path` is the PATH that it may
    need. A home folder of their own, a made-up key, no network."""
    with tempfile.TemporaryDirectory(prefix="claude-api-") as folder, StandIn() as api:
        environ = {
            "PATH": path,
            "HOME": folder,
            "ANTHROPIC_BASE_URL": api.url,
            "ANTHROPIC_API_KEY": "sk-ant-selftest",
        }
        table = ProcessTable(binary, signature_of(binary), Path(folder) / "state", environ, "")
        try:
            yield table, api
        finally:
            await table.close()
