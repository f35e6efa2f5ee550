"""The Makefile tells what it does and why it fails, as it happens. In a folder of its own, with stand-ins for
Python and npm."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import PATIENCE, ROOT

NO_ENSUREPIP = "The virtual environment was not created successfully because ensurepip is not available."
PYTHON = f"""#!/bin/sh
case "$*" in
  "-m venv .venv")
    mkdir -p .venv/bin && cp "$0" .venv/bin/python
    [ -e no-ensurepip ] && echo "{NO_ENSUREPIP}" && exit 1 ;;
  "-m pip install"*) echo "Downloading fastapi (1 MB)"; echo "ERROR: No space left on device" >&2; exit 1 ;;
esac
exit 0
"""
# All that the recipes call, but for npm.
PROGRAMS = ("make", "sh", "mkdir", "cp", "rm", "touch")


class Checkout:
    """What a clone has at first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkout"
        self.folder.mkdir()
        for name in ("Makefile", "requirements.txt", "requirements-cli.txt", "requirements-dev.txt"):
            shutil.copy(ROOT / name, self.folder)
        self.path = folder / "bin"
        self.path.mkdir()
        for name in PROGRAMS:
            (self.path / name).symlink_to(shutil.which(name) or name)
        (self.path / "python3").write_text(PYTHON)
        (self.path / "python3").chmod(0o755)

    def make(self, target: str) -> tuple[int, str, str]:
        """Exit status, output, errors."""
        ran = subprocess.run(
            ["make", target],
            env={"PATH": str(self.path), "HOME": str(self.folder)},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        return ran.returncode, ran.stdout, ran.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_what_pip_says_is_told(checkout: Checkout) -> None:
    code, said, errors = checkout.make("serve")
    assert code == 2
    assert said.splitlines() == [
        "Making the virtual environment .venv ...",
        "Installing what the server needs into .venv ...",
        "Downloading fastapi (1 MB)",
    ]
    assert errors.startswith("ERROR: No space left on device\n")


def test_an_environment_that_is_not_whole_is_made_again(checkout: Checkout) -> None:
    """Python's own reason is told, each time, and nothing goes on without it."""
    (checkout.folder / "no-ensurepip").touch()
    for _ in range(2):
        code, said, errors = checkout.make("serve")
        assert code == 2
        assert said.splitlines() == ["Making the virtual environment .venv ...", NO_ENSUREPIP]
        assert errors.startswith("python3 -m venv .venv failed; the lines above say why.\n")
    (checkout.folder / "no-ensurepip").unlink()
    assert "Installing what the server needs" in checkout.make("serve")[1]


@pytest.mark.parametrize("target", ["test", "test-clients", "bench", "chaos"])
def test_npm_is_asked_for_first(checkout: Checkout, target: str) -> None:
    code, said, errors = checkout.make(target)
    assert (code, said) == (2, "")
    assert errors.startswith("npm is needed, ") and "apt install npm" in errors
    assert not (checkout.folder / ".venv").exists()


def test_python_is_missing(checkout: Checkout) -> None:
    (checkout.path / "python3").unlink()
    code, _, errors = checkout.make("serve")
    assert code == 2 and "Python 3.10 or newer is needed; name one with: make PYTHON=" in errors
