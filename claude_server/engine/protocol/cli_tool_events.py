"""What a turn shows of the tools that the CLI runs by itself. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from claude_server.core.model import ToolRun

OUT_OF_TURNS = "the CLI stopped: it may ask the model no more often in one turn (X-Claude-Max-Turns)"
# The argument that says best what a call is about, where there is one.
_SUMMARY_ARGUMENTS = (
    "command",
    "file_path",
    "notebook_path",
    "path",
    "pattern",
    "url",
    "query",
    "description",
)
_MAX_SUMMARY_CHARS = 200


class CliToolTracker:
    """The tools of one turn, and the space between the texts around them."""

    def __init__(self) -> None:
        self._told = False
        self._apart = False

    def message_started(self) -> None:
        """The model is asked once more."""
        self._apart = self._told

    def with_spacing(self, text: str) -> str:
        """A piece of text, apart from that of an earlier message."""
        apart, self._apart, self._told = self._apart, False, True
        return "\n\n" + text if apart else text

    def runs_started(self, content: Sequence[Mapping[str, Any]]) -> Sequence[ToolRun]:
        """The tools that are run now, of the blocks of an assistant's frame."""
        return [ToolRun(b["name"], summary(b.get("input") or {})) for b in content if b["type"] == "tool_use"]


def summary(arguments: Mapping[str, Any]) -> str:
    """The arguments of a call in a line."""
    value = next((arguments[name] for name in _SUMMARY_ARGUMENTS if arguments.get(name)), arguments)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    line = " ".join(text.split())
    return line if len(line) <= _MAX_SUMMARY_CHARS else line[: _MAX_SUMMARY_CHARS - 1] + "\u2026"
