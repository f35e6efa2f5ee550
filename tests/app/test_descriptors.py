"""The soft limit of open files is raised, for our own process only as far as it may be."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support import ROOT

PROGRAM = """
import resource, sys
from claude_server.app.descriptors import raise_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
raise_limit()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "after"), [(256, 1024, 1024), (1024, 4096, 4096), (1024, 1024, 1024), (64, 512, 512)]
)
def test_the_limit(soft: int, hard: int, after: int) -> None:
    words = [sys.executable, "-c", PROGRAM, str(soft), str(hard)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(after), str(hard)]
