"""How log lines look and where they go."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import structlog

# Some terminals read commands in these, or end a line, or turn it around; they may come in any path that is
# asked for. Those of ASCII the renderers escape by themselves.
_CONTROL_CHARS = re.compile(r"[\x80-\x9f\u2028-\u202e\u2066-\u2069]")
# Mode 0600 when created: the log has ids, models, costs and names of keys.
_LOG_FILE_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


class SafeStream:
    """A stream whose writes never raise: a full disk, or a closed terminal, must not fail the request that is
    being logged. The first failure of each series is reported on standard error."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._failing = False

    def write(self, text: str) -> int:
        shown = _CONTROL_CHARS.sub(lambda found: ascii(found[0])[1:-1], text)
        self._guard(lambda: self._stream.write(shown))
        return len(text)

    def flush(self) -> None:
        self._guard(self._stream.flush)

    def _guard(self, do: Callable[[], object]) -> None:
        try:
            do()
            self._failing = False
        except OSError as error:
            if not self._failing and self._stream is not sys.stderr:
                with contextlib.suppress(OSError):
                    print(f"The log can't be written: {error.strerror}.", file=sys.stderr)
            self._failing = True


def configure(level: str, form: str, file: Path | None) -> None:
    """Set up logging for the process: our lines and those of uvicorn in one form. `form`: console or json."""
    stream: TextIO = sys.stderr
    if file is not None:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        stream = os.fdopen(os.open(file, _LOG_FILE_FLAGS, 0o600), "a", encoding="utf-8", buffering=1)
    out: Any = SafeStream(stream)
    number = logging.getLevelName(level.upper())
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Plain tracebacks: the pretty ones show local variables, and those hold prompts.
    plain = structlog.processors.format_exc_info
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    processors = [*shared, plain, renderer] if form == "json" else [*shared, renderer]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=out),
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *processors[len(shared) :],
            ],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(number, logging.WARNING))
