"""Room for the descriptors of a process's start."""

from __future__ import annotations

import os

# The pairs of standard input, output and error, that by which an exec reports its failure, and a handle for
# the end (from Python 3.12 on) with one to spare.
_PAIRS_OF_A_START = 5


def check_room_for_start() -> None:
    """Raise OSError (EMFILE, ENFILE) if the start of a process would run out of descriptors half way.

    A start that does leaves some open for good on Python 3.10 and 3.11.2, which made the pipes before the one
    that failed; and on 3.12 and newer it may leave a process that nobody waits for. Costs some 15 us.
    """
    held: list[int] = []
    try:
        for _ in range(_PAIRS_OF_A_START):
            held += os.pipe()
    finally:
        for descriptor in held:
            os.close(descriptor)
