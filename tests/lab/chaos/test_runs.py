"""Short runs, with the real CLI: every kind of fault once, and a soak of some seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import older_cli
from tests.support import BASE_PATH, ROOT


def run(program: str, folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    out, temp = folder / "out", folder / "temp"
    temp.mkdir()
    argv = [sys.executable, "-m", program, "--out", str(out), *arguments]
    environment = {"PATH": BASE_PATH, "HOME": str(folder), "TMPDIR": str(temp)}
    ran = subprocess.run(argv, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert list(temp.iterdir()) == []
    return ran, out


@pytest.mark.alone
@pytest.mark.long
def test_chaos(claude_bin: Path, tmp_path: Path) -> None:
    clis = ("--claude-bin", str(claude_bin), "--claude-bin", str(older_cli()))
    ran, out = run("lab.chaos", tmp_path, "--minutes", "0.2", "--seed", "7", *clis)
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert set(report["must_be_zero"].values()) == {0}
    assert report["right"] > 0
    assert str(tmp_path) not in json.dumps(report)


@pytest.mark.alone
@pytest.mark.long
def test_soak(claude_bin: Path, tmp_path: Path) -> None:
    arguments = ("--minutes", "0.3", "--turns", "100", "--claude-bin", str(claude_bin))
    ran, out = run("lab.chaos.soak", tmp_path, *arguments)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    figures: dict[str, Any] = json.loads((out / "soak.json").read_text())
    assert figures["turns"] > 0
    assert set(figures["leaks"].values()) == {0}
    assert (out / "soak.svg").read_text().startswith("<svg")
