"""Make sure that there is a claude CLI to serve: `python tools/find_cli.py --install .venv/bin/claude`.

Says nothing if CLAUDE_BIN, CLAUDE_CLI_PATH, PATH or the given path has one that runs. Otherwise installs the
claude-agent-sdk package, whose wheel brings the binary, and links the path to it. Standard library only.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

_PACKAGE = "claude-agent-sdk"
_INSTALL_HINT = "Install it yourself: npm install -g @anthropic-ai/claude-code"
_VERSION_SECONDS = 60.0


class NoCli(Exception):
    """Why there is none, and what to do about it, in a sentence."""


def runs(program: str | None) -> bool:
    """Does this program tell its version?"""
    if program is None:
        return False
    try:
        ran = subprocess.run([program, "--version"], capture_output=True, timeout=_VERSION_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return ran.returncode == 0 and re.match(rb"\s*\d+\.\d+\.\d+", ran.stdout) is not None


def bundled() -> Path | None:
    """The binary in the installed package."""
    importlib.invalidate_caches()
    package = importlib.util.find_spec("claude_agent_sdk")
    if package is None or package.origin is None:
        return None
    binary = Path(package.origin).parent / "_bundled" / "claude"
    return binary if runs(str(binary)) else None


def install(link: Path) -> None:
    """Make `link` a link to the package's binary. Raises NoCli."""
    binary = bundled()
    known = binary is not None
    if binary is None:
        print(f"There is no claude CLI yet: installing the one in {_PACKAGE} ...", flush=True)
        command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-deps"]
        # --upgrade and --force-reinstall: what is there, if anything, has no binary that runs.
        command += ["--quiet", "--upgrade", "--force-reinstall", _PACKAGE]
        ran = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        if ran.returncode != 0:
            said = ran.stderr.strip().splitlines() or ["no reason told"]
            raise NoCli(f"The claude CLI could not be installed ({said[-1]}). {_INSTALL_HINT}")
        binary = bundled()
    if binary is None:
        raise NoCli(f"{_PACKAGE} has no claude CLI that runs here. {_INSTALL_HINT}")
    try:
        link.unlink(missing_ok=True)
        link.symlink_to(binary)
    except OSError as error:
        raise NoCli(f"{link} can't be made ({error.strerror}). {_INSTALL_HINT}") from None
    if not known:
        # The server calls it `claude`, a name that the person's own shell doesn't find.
        print(f"It is {link}; to log in: {link} auth login", flush=True)


def ensure(link: Path) -> None:
    """Do what the module says. Raises NoCli."""
    for name in ("CLAUDE_BIN", "CLAUDE_CLI_PATH"):
        named = os.environ.get(name)
        if named:
            if runs(shutil.which(Path(named).expanduser())):
                return
            # Installing one would not help: the server goes by the name.
            raise NoCli(f"{name}={named} is no claude CLI that runs: set it to one, or unset it.")
    if not runs(shutil.which("claude")) and not runs(str(link)):
        install(link)


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Make sure that there is a claude CLI.")
    parser.add_argument("--install", type=Path, required=True, metavar="PATH", help="where to link one")
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
