"""A process's start on a machine that has little left for it."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from claude_server.engine.processes.process import spawn


def descriptors() -> dict[str, str]:
    """Those that are open, with what they lead to."""
    found = {}
    for link in Path("/proc/self/fd").iterdir():
        # Not the one that the folder is read by.
        with contextlib.suppress(OSError):
            found[link.name] = str(link.readlink())
    return found


@contextlib.contextmanager
def with_free_descriptors(number: int) -> Iterator[None]:
    """Only so many more may be opened."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = {int(name) for name in descriptors()}
    free = [candidate for candidate in range(max(used) + number + 2) if candidate not in used]
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[number], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def start_and_end(folder: Path) -> None:
    process = await spawn(["/bin/cat"], {}, folder)
    await process.end()


@pytest.mark.parametrize("number", range(14))
async def test_a_start_that_runs_out_of_descriptors_leaves_none(tmp_path: Path, number: int) -> None:
    await start_and_end(tmp_path)
    before, children = descriptors(), psutil.Process().children()
    with with_free_descriptors(number):
        try:
            await start_and_end(tmp_path)
        except OSError as error:
            assert error.errno == 24
            assert number <= 10
        else:
            assert number >= 8
    assert descriptors() == before
    assert psutil.Process().children() == children
