"""lab/find_cli.py, run as `make serve` runs it, in a virtual environment of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support import BASE_PATH, PATIENCE, ROOT

SCRIPT = ROOT / "lab" / "find_cli.py"
GOOD = "#!/bin/sh\necho '2.1.330 (Claude Code)'\n"
BROKEN = "#!/bin/sh\necho 'no such processor' >&2\nexit 1\n"
SAYS_NOTHING = "#!/bin/sh\n"
(PINNED,) = re.findall(
    r"^claude-agent-sdk==(\S+)$", (ROOT / "requirements-cli.txt").read_text(), re.MULTILINE
)
HINT = "Install it yourself: npm install -g @anthropic-ai/claude-code\n"


def program(path: Path, text: str = GOOD) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


class Environment:
    """A virtual environment, and where its pip looks for packages: in `wheels` only."""

    def __init__(self, folder: Path, venv: Path) -> None:
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
        # Made anew it would take five seconds each time.
        shutil.copytree(venv, folder / "venv", symlinks=True)

    def wheel(self, binary: str, version: str = PINNED) -> None:
        """Offer a package like claude-agent-sdk, which has this as its CLI."""
        name = f"claude_agent_sdk-{version}"
        about = f"{name}.dist-info"
        files = {
            "claude_agent_sdk/__init__.py": "",
            "claude_agent_sdk/_bundled/claude": binary,
            f"{about}/METADATA": "Metadata-Version: 2.1\nName: claude-agent-sdk\n"
            f"Version: {version}\n"
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


def venv(folder: Path, *options: str) -> Path:
    command = [sys.executable, "-m", "venv", *options, str(folder)]
    subprocess.run(command, check=True, timeout=5 * PATIENCE, env={"PATH": BASE_PATH})
    return folder


@pytest.fixture(scope="module")
def venv_with_pip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return venv(tmp_path_factory.mktemp("with-pip") / "venv")


@pytest.fixture(scope="module")
def venv_without_pip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return venv(tmp_path_factory.mktemp("without-pip") / "venv", "--without-pip")


@pytest.fixture
def bare(tmp_path: Path, venv_without_pip: Path) -> Environment:
    """Without pip: it can't install, so what goes well went without."""
    return Environment(tmp_path, venv_without_pip)


@pytest.fixture
def environment(tmp_path: Path, venv_with_pip: Path) -> Environment:
    return Environment(tmp_path, venv_with_pip)


def test_it_installs_one_where_none_is(environment: Environment) -> None:
    environment.wheel(GOOD)
    begun = "There is no claude CLI yet: installing the one in claude-agent-sdk ...\n"
    ended = f"\nIt is {environment.link}; to log in: {environment.link} auth login\n"

    def installs() -> bool:
        code, said, errors = environment.run()
        assert (code, errors) == (0, "")
        if said:
            # What pip does is told as it happens.
            assert said.startswith(begun) and "\nProcessing " in said and said.endswith(ended)
        return bool(said)

    assert installs()
    ran = subprocess.run([environment.link, "--version"], capture_output=True, text=True, check=True)
    assert ran.stdout == "2.1.330 (Claude Code)\n"
    assert not installs()

    environment.link.unlink()
    assert not installs(), "the package is there: only its binary is put there"
    assert environment.link.exists()

    binary = next(environment.bin.parent.rglob("_bundled/claude"))
    binary.unlink()
    assert not installs(), "the one that was put there doesn't need the package"

    environment.link.unlink()
    assert installs(), "the package has lost its binary"


def test_another_package_does_not_exchange_it(environment: Environment) -> None:
    """As `make test` does when its pin has moved: the operator's CLI stays what it was."""
    environment.wheel(GOOD)
    assert environment.run()[0] == 0
    environment.wheel(GOOD.replace("2.1.330", "2.1.999"), "9999.0")
    pip = [str(environment.bin / "python"), "-m", "pip", "install", "--quiet", "--no-deps"]
    command = [*pip, "--disable-pip-version-check", "claude-agent-sdk==9999.0"]
    subprocess.run(command, env=environment.variables, check=True, timeout=PATIENCE)
    assert "2.1.999" in next(environment.bin.parent.rglob("_bundled/claude")).read_text()
    assert "2.1.330" in environment.link.read_text()

    environment.link.unlink()
    assert environment.run()[0] == 0
    assert "2.1.330" in environment.link.read_text(), "one that is asked for anew is the pinned one"


def test_a_package_without_a_cli_that_runs(environment: Environment) -> None:
    environment.wheel(BROKEN)
    code, _, errors = environment.run()
    trouble = "it ended with status 1: no such processor"
    assert (code, errors) == (1, f"The claude CLI in claude-agent-sdk doesn't run here ({trouble}). {HINT}")
    assert not environment.link.exists()


def test_it_can_not_be_installed(environment: Environment) -> None:
    """All that pip says, and what to do."""
    code, _, errors = environment.run()
    first, second, ours = errors.splitlines()
    assert code == 1
    assert first.startswith("ERROR: Could not find a version that satisfies the requirement")
    assert second == f"ERROR: No matching distribution found for claude-agent-sdk=={PINNED}"
    assert f"{ours}\n" == f"The claude CLI could not be installed; the lines above say why. {HINT}"


def test_there_is_no_pip(bare: Environment) -> None:
    code, _, errors = bare.run()
    assert (code, errors.count("\n")) == (1, 2)
    assert "No module named pip\n" in errors and errors.endswith(HINT)


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
    trouble = "it was not found"
    sentence = f"{name}=/missing is no claude CLI that runs ({trouble}): set it to one, or unset it.\n"
    assert bare.run(**{name: "/missing"}) == (1, "", sentence)


def test_one_that_was_installed_before(bare: Environment) -> None:
    program(bare.link)
    assert bare.run() == (0, "", "")
