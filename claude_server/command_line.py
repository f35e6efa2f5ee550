"""What a person types to start this server, for sentences that say so."""

from __future__ import annotations

import functools
from pathlib import Path

_IN_A_CLONE = "claude_api.py"
_INSTALLED = "claude-api"


@functools.cache
def program() -> str:
    """`claude_api.py` in a clone, `claude-api` where the package is installed: the name in a usage line."""
    return _IN_A_CLONE if (Path(__file__).resolve().parents[1] / _IN_A_CLONE).is_file() else _INSTALLED


def command(words: str) -> str:
    """The line to type, such as `python claude_api.py keys list`."""
    return f"{'python ' * (program() == _IN_A_CLONE)}{program()} {words}"
