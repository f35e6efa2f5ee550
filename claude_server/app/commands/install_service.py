"""`install-service`: write the file that starts the server with the user's session; say what comes next."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from claude_server import private
from claude_server.app.service_files import Service, launchd_agent, systemd_unit
from claude_server.command_line import command, program
from claude_server.configuration.settings import ConfigError

SUMMARY = "write the file that starts the server with your session"
_NAME = "claude-api"
_SYSTEM_PATH = ("/usr/local/bin", "/usr/bin", "/bin")


def main(argv: Sequence[str]) -> int:
    """The exit status. Raises ConfigError."""
    parser = argparse.ArgumentParser(prog=f"{program()} install-service", description=SUMMARY)
    parser.add_argument("--print", action="store_true", dest="show", help="show the file, write nothing")
    parser.add_argument("--force", action="store_true", help="replace a file that says something else")
    options = parser.parse_args(list(argv))
    launchd = sys.platform == "darwin"
    service = _service(Path.home())
    target = _agent_file(service.home) if launchd else _unit_file(service.home)
    text = launchd_agent(service) if launchd else systemd_unit(service, _settings_file(service.home))
    if options.show:
        print(text, end="")
        return 0
    try:
        _write(target, text, force=options.force)
    except OSError as error:
        raise ConfigError(f"{target} can't be written: {error.strerror}.") from None
    print(f"Written: {target}")
    print(_next_launchd(target) if launchd else _next_systemd(service.home))
    return 0


def _service(home: Path) -> Service:
    """This Python with the installed package, or with the clone; it finds the CLI that is found now."""
    bin_folder = Path(sys.executable).parent
    clone = Path(__file__).resolve().parents[3]
    installed = program() == _NAME
    words = [sys.executable, *(("-m", "claude_server") if installed else (program(),))]
    # Not the home folder: a .env there belongs to something else.
    working = Path("/") if installed else clone
    claude = shutil.which("claude")
    folders = [bin_folder, *([Path(claude).parent] if claude else []), home / ".local" / "bin"]
    return Service(words, list(dict.fromkeys((*folders, *map(Path, _SYSTEM_PATH)))), working, home)


def _config_home(home: Path) -> Path:
    return home / ".config"


def _unit_file(home: Path) -> Path:
    return _config_home(home) / "systemd" / "user" / f"{_NAME}.service"


def _agent_file(home: Path) -> Path:
    return home / "Library" / "LaunchAgents" / f"{_NAME}.plist"


def _settings_file(home: Path) -> Path:
    return _config_home(home) / f"{_NAME}.env"


def _write(target: Path, text: str, *, force: bool) -> None:
    if target.exists() and target.read_text() != text and not force:
        raise ConfigError(f"{target} is there and says something else: --force replaces it.")
    target.parent.mkdir(parents=True, exist_ok=True)
    private.replace(target, text)


def _next_systemd(home: Path) -> str:
    return f"""
Next:
  systemctl --user daemon-reload
  systemctl --user enable --now {_NAME}
  journalctl --user -u {_NAME} -f     what it says
  loginctl enable-linger             keeps it running while you are logged out

Settings go into {_settings_file(home)}, a NAME=value a line, mode 0600.
What they can be: {command("--help")}
To take it away: systemctl --user disable --now {_NAME}; rm {_unit_file(home)}"""


def _next_launchd(target: Path) -> str:
    domain = f"gui/{os.getuid()}"
    return f"""
Next (written after launchd's documentation, and never tried on a Mac):
  launchctl bootstrap {domain} {target}
  launchctl print {domain}/{_NAME}
To take it away: launchctl bootout {domain}/{_NAME}; rm {target}"""
