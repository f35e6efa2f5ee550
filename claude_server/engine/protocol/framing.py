"""NDJSON: bytes in, lines out. No I/O."""

from __future__ import annotations

# A stream line holds a whole message: 400 kB is common, 40 MiB has been seen. Beyond this it is nonsense.
LINE_CAP = 64 * 1024 * 1024


class LineTooLong(Exception):
    """A line beyond the cap: whoever writes it can't be trusted any more."""


class LineSplitter:
    """Collects bytes and gives whole lines, without their newline; blank lines are left out.

    A partial line is kept in pieces, so that a long one costs no quadratic copying.
    """

    def __init__(self, cap: int = LINE_CAP) -> None:
        self._cap = cap
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes. Raises LineTooLong."""
        head, newline, rest = data.partition(b"\n")
        self._size += len(head)
        if self._size > self._cap:
            raise LineTooLong(f"a line of more than {self._cap} bytes")
        self._pieces.append(head)
        if not newline:
            return []
        lines = [b"".join(self._pieces)]
        *whole, last = rest.split(b"\n")
        lines += whole
        self._pieces = []
        self._size = 0
        if last:
            lines += self.feed(last)
        return [line for line in lines if line.strip()]
