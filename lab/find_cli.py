"""Make sure that there is a claude CLI to serve: `python lab/find_cli.py --install .venv/bin/claude`.

Says nothing if CLAUDE_BIN, CLAUDE_CLI_PATH, PATH or the given path has one that runs. Otherwise installs the
package that requirements-cli.txt names, whose wheel brings the binary, and puts that at the path. Standard
library only.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

_PACKAGE = "claude-agent-sdk"
_REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements-cli.txt"
_INSTALL_HINT = "Install it yourself: npm install -g @anthropic-ai/claude-code"
_VERSION_SECONDS = 60.0


class NoCli(Exception):
    """Why there is none, and what to do about it, in a sentence."""


def trouble_with(program: str | None) -> str | None:
    """Why this program doesn't tell its version; None if it does."""
    if program is None:
        return "it was not found"
    try:
        ran = subprocess.run(
            [program, "--version"], capture_output=True, text=True, errors="replace", timeout=_VERSION_SECONDS
        )
    except OSError as error:
        return error.strerror or type(error).__name__
    except subprocess.TimeoutExpired:
        return f"it didn't tell its version within {_VERSION_SECONDS:.0f} s"
    if ran.returncode != 0:
        said = ran.stderr.strip().splitlines() or ["it said nothing"]
        return f"it ended with status {ran.returncode}: {said[-1]}"
    told = re.match(r"\s*\d+\.\d+\.\d+", ran.stdout)
    return None if told else "it told no version"


def runs(program: str | None) -> bool:
    """Does this program tell its version?"""
    return trouble_with(program) is None


def bundled() -> Path | None:
    """Where the installed package has the binary."""
    importlib.invalidate_caches()
    package = importlib.util.find_spec("claude_agent_sdk")
    if package is None or package.origin is None:
        return None
    return Path(package.origin).parent / "_bundled" / "claude"


def is_pinned() -> bool:
    """Is the installed package the one that requirements-cli.txt names?"""
    try:
        installed = importlib.metadata.version(_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return False
    return f"{_PACKAGE}=={installed}" in _REQUIREMENTS.read_text(encoding="utf-8").splitlines()


def install(path: Path) -> None:
    """Put the package's binary at `path`. Raises NoCli."""
    binary = bundled()
    known = binary is not None and is_pinned() and runs(str(binary))
    if not known:
        print(f"There is no claude CLI yet: installing the one in {_PACKAGE} ...", flush=True)
        command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-deps"]
        # --force-reinstall: what is there, if anything, is another version or has no binary that runs.
        command += ["--force-reinstall", "-r", str(_REQUIREMENTS)]
        # Its progress and its errors are for the person at the terminal.
        if subprocess.run(command).returncode != 0:
            raise NoCli(f"The claude CLI could not be installed; the lines above say why. {_INSTALL_HINT}")
        binary = bundled()
    trouble = trouble_with(str(binary) if binary else None)
    if binary is None or trouble is not None:
        raise NoCli(f"The claude CLI in {_PACKAGE} doesn't run here ({trouble}). {_INSTALL_HINT}")
    try:
        put(binary, path)
    except OSError as error:
        raise NoCli(f"{path} can't be made ({error.strerror}). {_INSTALL_HINT}") from None
    if not known:
        # The server calls it `claude`, a name that the person's own shell doesn't find.
        print(f"It is {path}; to log in: {path} auth login", flush=True)


def put(binary: Path, path: Path) -> None:
    """Give the file a second name, which stays what it is when the package is exchanged or removed.

    Where a file can have no second name there, it is copied.
    """
    path.unlink(missing_ok=True)
    try:
        path.hardlink_to(binary)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copy2(binary, path)


def ensure(link: Path) -> None:
    """Do what the module says. Raises NoCli."""
    for name in ("CLAUDE_BIN", "CLAUDE_CLI_PATH"):
        named = os.environ.get(name)
        if named:
            trouble = trouble_with(shutil.which(Path(named).expanduser()))
            if trouble is None:
                return
            # Installing one would not help: the server goes by the name.
            raise NoCli(f"{name}={named} is no claude CLI that runs ({trouble}): set it to one, or unset it.")
    if not runs(shutil.which("claude")) and not runs(str(link)):
        install(link)


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Make sure that there is a claude CLI.")
    parser.add_argument("--install", type=Path, required=True, metavar="PATH", help="where to put one")
    options = parser.parse_args()
    try:
        ensure(options.install)
    except NoCli as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
