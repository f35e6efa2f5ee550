"""tools/find_cli.py, run as `make serve` runs it, in a virtual environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support import BASE_PATH, PATIENCE, ROOT

SCRIPT = ROOT / "tools" / "find_cli.py"
GOOD = "#!/bin/sh\necho '2.1.330 (Claude Code)'\n"
BROKEN = "#!/bin/sh\nexit 1\n"
SAYS_NOTHING = "#!/bin/sh\n"
HINT = "Install it yourself: npm install -g @anthropic-ai/claude-code\n"


def program(path: Path, text: str = GOOD) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


class Environment:
    """A virtual environment, and where its pip looks for packages: in `wheels` only."""

    def __init__(self, folder: Path, *, pip: bool) -> None:
        self.bin = folder / "venv" / "bin"
        self.link = self.bin / "claude"
        self.wheels = folder / "wheels"
        self.wheels.mkdir()
        self.variables = {
            "PATH": BASE_PATH,
            "HOME": str(folder),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
            "PIP_NO_CACHE_DIR": "1",
        }
        make = [sys.executable, "-m", "venv", *(() if pip else ("--without-pip",)), str(folder / "venv")]
        subprocess.run(make, check=True, timeout=PATIENCE, env={"PATH": BASE_PATH})

    def wheel(self, binary: str) -> None:
        """Offer a package like claude-agent-sdk, which has this as its CLI."""
        name = "claude_agent_sdk-1.0"
        about = f"{name}.dist-info"
        files = {
            "claude_agent_sdk/__init__.py": "",
            "claude_agent_sdk/_bundled/claude": binary,
            f"{about}/METADATA": "Metadata-Version: 2.1\nName: claude-agent-sdk\nVersion: 1.0\n"
            "Requires-Dist: a-package-that-nobody-has\n",
            f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{about}/RECORD": "",
        }
        with zipfile.ZipFile(self.wheels / f"{name}-py3-none-any.whl", "w") as packed:
            for path, text in files.items():
                entry = zipfile.ZipInfo(path)
                entry.external_attr = 0o100755 << 16
                packed.writestr(entry, text)

    def run(self, **more: str) -> tuple[int, str, str]:
        """Exit status, output, errors."""
        command = [str(self.bin / "python"), str(SCRIPT), "--install", str(self.link)]
        ran = subprocess.run(
            command, env=self.variables | more, capture_output=True, text=True, timeout=PATIENCE
        )
        return ran.returncode, ran.stdout, ran.stderr


@pytest.fixture
def bare(tmp_path: Path) -> Environment:
    """Without pip: it can't install, so what goes well went without."""
    return Environment(tmp_path, pip=False)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path, pip=True)


def test_it_installs_one_where_none_is(environment: Environment) -> None:
    environment.wheel(GOOD)
    said = "There is no claude CLI yet: installing the one in claude-agent-sdk ...\n"
    said += f"It is {environment.link}; to log in: {environment.link} auth login\n"
    assert environment.run() == (0, said, "")
    ran = subprocess.run([environment.link, "--version"], capture_output=True, text=True, check=True)
    assert ran.stdout == "2.1.330 (Claude Code)\n"
    assert environment.run() == (0, "", "")

    environment.link.unlink()
    assert environment.run() == (0, "", ""), "the package is there: only the link is made"
    assert environment.link.is_symlink()

    environment.link.resolve().unlink()
    assert environment.run() == (0, said, ""), "a link that leads nowhere is made anew"
    assert environment.run() == (0, "", "")


def test_a_package_without_a_cli_that_runs(environment: Environment) -> None:
    environment.wheel(BROKEN)
    code, _, errors = environment.run()
    assert (code, errors) == (1, f"claude-agent-sdk has no claude CLI that runs here. {HINT}")
    assert not environment.link.is_symlink()


def test_it_can_not_be_installed(environment: Environment) -> None:
    code, _, errors = environment.run()
    assert code == 1
    assert errors.startswith("The claude CLI could not be installed (ERROR: No matching distribution")
    assert errors.endswith(HINT) and errors.count("\n") == 1


def test_there_is_no_pip(bare: Environment) -> None:
    code, _, errors = bare.run()
    assert (code, errors.count("\n")) == (1, 1)
    assert "No module named pip" in errors and errors.endswith(HINT)


def test_the_link_can_not_be_made(environment: Environment) -> None:
    environment.wheel(GOOD)
    environment.link = environment.bin / "missing" / "claude"
    code, _, errors = environment.run()
    assert (code, errors) == (1, f"{environment.link} can't be made (No such file or directory). {HINT}")


def test_one_on_path_is_enough(bare: Environment, tmp_path: Path) -> None:
    program(tmp_path / "on path" / "claude")
    assert bare.run(PATH=f"{tmp_path / 'on path'}:{BASE_PATH}") == (0, "", "")
    assert not bare.link.exists()


@pytest.mark.parametrize("text", [BROKEN, SAYS_NOTHING])
def test_one_on_path_that_does_not_run(text: str, bare: Environment, tmp_path: Path) -> None:
    program(tmp_path / "other" / "claude", text)
    assert bare.run(PATH=f"{tmp_path / 'other'}:{BASE_PATH}")[0] == 1


@pytest.mark.parametrize("name", ["CLAUDE_BIN", "CLAUDE_CLI_PATH"])
def test_one_that_is_named(name: str, bare: Environment, tmp_path: Path) -> None:
    here = program(tmp_path / "other" / "my-claude")
    assert bare.run(**{name: str(here)}) == (0, "", "")
    assert bare.run(**{name: "~/other/my-claude"}) == (0, "", "")
    assert bare.run(**{name: "my-claude", "PATH": f"{here.parent}:{BASE_PATH}"}) == (0, "", "")
    assert not bare.link.exists()


@pytest.mark.parametrize("name", ["CLAUDE_BIN", "CLAUDE_CLI_PATH"])
def test_one_that_is_named_and_does_not_run(name: str, bare: Environment) -> None:
    program(bare.link)
    sentence = f"{name}=/missing is no claude CLI that runs: set it to one, or unset it.\n"
    assert bare.run(**{name: "/missing"}) == (1, "", sentence)


def test_one_that_was_installed_before(bare: Environment) -> None:
    program(bare.link)
    assert bare.run() == (0, "", "")
