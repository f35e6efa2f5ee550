"""A tiny run of the whole benchmark, with the real CLI."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import BASE_PATH, ROOT


@pytest.mark.alone
@pytest.mark.long
def test_a_quick_run_writes_everything_and_leaves_nothing(claude_bin: Path, tmp_path: Path) -> None:
    out, temp = tmp_path / "docs" / "bench", tmp_path / "temp"
    temp.mkdir()
    argv = [sys.executable, "-m", "lab.bench", "--quick", "--claude-bin", str(claude_bin), "--out", str(out)]
    environment = {"PATH": BASE_PATH, "HOME": str(tmp_path), "TMPDIR": str(temp)}
    ran = subprocess.run(argv, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    results = json.loads((out / "results.json").read_text())
    (cli,) = results["clis"]
    for cell in cli["cells"]:
        for name in ("floor", "ours", "bare", "per_request"):
            figures = cell["contestants"][name]
            assert figures["failed"] == 0, (cell["workload"], name)
            assert figures["latency_ms"]["p50"] > 0
    assert all(goal["measured"] for goal in results["goals"][cli["version"]])
    assert (out / "plot.svg").read_text().startswith("<svg")
    page = (tmp_path / "docs" / "performance.md").read_text()
    assert "Requests a second" in page
    for text in (page, json.dumps(results)):
        assert str(tmp_path) not in text
        assert str(claude_bin) not in text
    assert list(temp.iterdir()) == []
    assert _running_in(temp) == []


def _running_in(folder: Path) -> list[int]:
    """Processes whose temporary folder lies in this one."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                if str(folder).encode() in (process / "environ").read_bytes():
                    found.append(int(process.name))
            except OSError:
                continue
    return found
