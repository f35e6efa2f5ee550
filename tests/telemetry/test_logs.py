"""A log that can't be written is said once, and fails nobody."""

from __future__ import annotations

import io
import os

import pytest

from claude_server.telemetry.logs import SafeStream


def test_what_is_written_goes_through() -> None:
    out = io.StringIO()
    safe_stream = SafeStream(out)
    assert safe_stream.write("one\n") == 4
    safe_stream.flush()
    assert out.getvalue() == "one\n"


def test_no_terminal_is_commanded() -> None:
    """A path that a stranger asks for is in the log."""
    out = io.StringIO()
    SafeStream(out).write("path=/\x9b31m\u2028é\u202e\n")
    assert out.getvalue() == "path=/\\x9b31m\\u2028é\\u202e\n"


def test_a_full_disk_is_said_once_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    class Disk(io.StringIO):
        full = True

        def write(self, text: str) -> int:
            if self.full:
                raise OSError(28, os.strerror(28))
            return super().write(text)

    disk = Disk()
    safe_stream = SafeStream(disk)
    said = f"The log can't be written: {os.strerror(28)}.\n"
    for _ in range(3):
        assert safe_stream.write("lost\n") == 5
    assert capsys.readouterr().err == said
    disk.full = False
    safe_stream.write("kept\n")
    disk.full = True
    safe_stream.write("lost\n")
    assert (disk.getvalue(), capsys.readouterr().err) == ("kept\n", said)


def test_a_reader_that_is_gone() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w", buffering=1)
    SafeStream(stream).write("nobody reads this\n")
    with pytest.raises(BrokenPipeError):
        # What was written is still in its buffer.
        stream.close()
