"""What a run is made on: the machine's name for the figures, and the CLI that is asked for."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from pathlib import Path
from typing import Any

from lab.bench.programs import BenchError

# Stands for the CLI in the wheel of claude-agent-sdk.
NEWEST = "newest"


def find_cli(name: str) -> str:
    """The absolute path of a CLI. Raises BenchError."""
    if name == NEWEST:
        package = importlib.util.find_spec("claude_agent_sdk")
        bundled = Path(package.origin).parent / "_bundled" / "claude" if package and package.origin else None
        found = str(bundled) if bundled and bundled.exists() else shutil.which("claude")
    else:
        found = shutil.which(name)
    if found is None:
        raise BenchError("There is no such claude CLI; get one with: pip install -r requirements-dev.txt")
    return str(Path(found).absolute())


def machine() -> dict[str, Any]:
    """Cores, CPU, system and Python; no name of the machine itself."""
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu": cpu_name(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
