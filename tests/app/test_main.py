"""The application's life, from the opening of the records on."""

from __future__ import annotations

from pathlib import Path

import pytest

from claude_server.app.main import create_app
from claude_server.configuration.settings import Settings
from tests.support import IdleBackend


class Broken(IdleBackend):
    async def close(self) -> None:
        raise OSError("can't be ended")


async def test_what_fails_to_end_keeps_nothing_else_from_ending(tmp_path: Path) -> None:
    """The thread of the records, left running, would keep the process from its end."""
    app = create_app(Settings(state_dir=tmp_path), Broken())
    registry = app.state.context.runner.sessions
    with pytest.raises(OSError, match="can't be ended"):
        async with app.router.lifespan_context(app):
            assert await registry.active("") == []
    with pytest.raises(RuntimeError):
        await registry.active("")
    assert app.state.context.runner.drain.cut
