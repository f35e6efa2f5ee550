"""What the Docker image is made of, without Docker; `rehearse.py` carries its steps out, by hand."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path, PurePosixPath

import httpx
import pytest

from claude_server.app.guards import lacks_key
from claude_server.configuration.settings import Settings
from claude_server.standin import StandIn
from tests.deploy import dockerfile
from tests.readme import document
from tests.support import PATIENCE, ROOT, Server, clean_environment, wait_until_gone

BUILD, IMAGE = dockerfile.stages()
ENTRYPOINT = ROOT / "deploy" / "docker" / "entrypoint.sh"
KEY = re.compile(r"sk-capi-\S+")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder /app of the image."""
    place = tmp_path_factory.mktemp("image") / "app"
    for file in dockerfile.context():
        target = place / file.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    return place


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """The folder with a login that is mounted at /root/.claude."""
    folder = tmp_path / "mounted"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def environment(mounted: Path, api: StandIn, claude_bin: Path) -> dict[str, str]:
    """What the image sets, with the mounted folder where it is here."""
    given = dockerfile.only(IMAGE, "ENV").pairs()
    given = {name: value.replace("/root/.claude", str(mounted)) for name, value in given.items()}
    given["PATH"] = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    made = clean_environment(mounted / "not-the-home", api.url, CLAUDE_BIN=str(claude_bin))
    # What the self-test found, where the image's server looks for it.
    shutil.move(mounted / "not-the-home" / "state", given["CLAUDE_STATE_DIR"])
    (mounted / "not-the-home").rmdir()
    return made | given


def entry(app: Path, environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(app / "deploy/docker/entrypoint.sh"), *words]
    return subprocess.run(command, env=environment, cwd=app, capture_output=True, text=True, timeout=PATIENCE)


def test_the_first_start_makes_a_key(app: Path, environment: dict[str, str], mounted: Path) -> None:
    """Once, and only where the server would not start without one."""
    assert lacks_key(Settings(host=environment["CLAUDE_WRAPPER_HOST"], state_dir=mounted))
    with_one = {**environment, "API_KEY": "a-key-of-the-operators-own"}
    for given, made in ((with_one, 0), (environment, 1), (environment, 0)):
        ran = entry(app, given, "--version")
        assert (ran.returncode, len(KEY.findall(ran.stdout))) == (0, made), ran.stderr
        assert ran.stdout.splitlines()[-1].startswith("claude-api ")
    kept = mounted / "claude-api" / "keys.json"
    assert kept.stat().st_mode & 0o777 == 0o600


def test_another_command(app: Path, environment: dict[str, str]) -> None:
    ran = entry(app, environment, "python", "claude_api.py", "keys", "list")
    assert (ran.returncode, "no keys" in ran.stdout) == (0, True)


def test_a_folder_that_is_somebody_elses(environment: dict[str, str]) -> None:
    """The message names the owner, for --user."""
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    command = [*(nobody if os.getuid() == 0 else []), "sh", "-s"]
    given = {**environment, "CLAUDE_CONFIG_DIR": "/usr"}
    with ENTRYPOINT.open() as script:
        ran = subprocess.run(
            command, env=given, cwd="/", stdin=script, capture_output=True, text=True, timeout=PATIENCE
        )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "docker run --user 0:0 " in ran.stderr


def test_it_serves(app: Path, environment: dict[str, str], mounted: Path, api: StandIn) -> None:
    """With the wrapper's own .env in /app, which needs a key too. All that is written is in the mounted
    folder. From inside it can be checked."""
    environment |= {"PORT": "0", "CLAUDE_WRAPPER_HOST": "127.0.0.1"}
    (app / ".env").write_text('CORS_ORIGINS=["*"]\n')
    server = Server(mounted, environment, command=[str(app / "deploy/docker/entrypoint.sh")], folder=app)
    try:
        key = server.wait_for_line(KEY.pattern)
        body = {"messages": [{"role": "user", "content": "hi"}], "session_id": "notes"}
        for given, status in (("no key", 401), (key, 200)):
            answer = httpx.post(
                f"{server.base_url}/chat/completions",
                json=body,
                headers={"Authorization": f"Bearer {given}", "Origin": "https://page.example"},
                timeout=PATIENCE,
            )
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == "*"
        words = ("python", "claude_api.py", "check", "--base-url", server.url, "--key", key)
        assert "All is right." in entry(app, environment, *words).stdout
        port = server.url.rpartition(":")[2]
        check = dockerfile.only(IMAGE, "HEALTHCHECK").command()
        assert subprocess.run(check, env={**environment, "PORT": port}, cwd=app).returncode == 0
        family = server.claude_processes()
        assert family
    finally:
        (app / ".env").unlink()
        assert server.stop(signal.SIGTERM) == 0
    wait_until_gone(family)
    assert list((mounted / "projects").rglob("*.jsonl"))
    ended = subprocess.run(check, env={**environment, "PORT": port}, cwd=app, stderr=subprocess.PIPE)
    assert ended.returncode == 1 and b"no answer" in ended.stderr


def test_it_serves_a_mounted_source(app: Path, environment: dict[str, str], tmp_path: Path) -> None:
    """For development: with options behind the image's name, and started anew after a change."""
    source = shutil.copytree(app, tmp_path / "app")
    environment |= {"PORT": "0", "CLAUDE_WRAPPER_HOST": "127.0.0.1"}
    command = [str(source / "deploy/docker/entrypoint.sh"), "--reload", "--log-level", "debug"]
    server = Server(tmp_path / "home", environment, command=command, folder=source)
    try:
        file = source / "claude_server" / "configuration" / "settings.py"
        file.write_text(re.sub(r"^VERSION = .*$", 'VERSION = "0.0.2"', file.read_text(), flags=re.MULTILINE))
        assert server.wait_for_line(r"claude-api 0\.0\.2 is ready on (\S+)") == server.url
    finally:
        assert server.stop(signal.SIGTERM) == 0


def test_what_gets_into_the_image(app: Path) -> None:
    """Nothing secret, nothing of no use. That nothing is missing is shown by the server that runs from it."""
    names = {path.name for path in app.iterdir()}
    assert names >= {"claude_api.py", "requirements.txt", "deploy", "session_demo.py"}
    assert not names & {".git", ".env", "tests", "docs"} and not (app / "lab" / "bench").exists()
    assert dockerfile.is_left_out(PurePosixPath(".env"))
    assert dockerfile.is_left_out(PurePosixPath("claude_server/core/__pycache__/model.cpython-312.pyc"))


def test_the_dockerfile() -> None:
    """It passes hadolint, doesn't end as root, and has the CLI that the tests run."""
    lint = [str(Path(sys.executable).parent / "hadolint"), str(dockerfile.DOCKERFILE)]
    ran = subprocess.run(lint, capture_output=True, text=True, timeout=PATIENCE)
    assert (ran.returncode, ran.stdout) == (0, "")
    assert dockerfile.only(IMAGE, "USER").rest == "1000:1000"
    assert dockerfile.only(BUILD, "ARG").pairs() == {"CLAUDE_AGENT_SDK": ""}
    assert any("requirements-cli.txt" in step.rest for step in BUILD if step.word == "COPY")
    assert "-r requirements-cli.txt" in (ROOT / "requirements-dev.txt").read_text().splitlines()
    assert dockerfile.only(IMAGE, "ENTRYPOINT").command()[-1] == str(ENTRYPOINT.relative_to(ROOT))
    assert os.access(ENTRYPOINT, os.X_OK)


@pytest.mark.parametrize("file", ["compose.yaml", "compose.dev.yaml"])
def test_the_compose_files(file: str) -> None:
    """They mount what the image looks at, and publish the port that it serves."""
    text = (ROOT / file).read_text()
    given = dockerfile.only(IMAGE, "ENV").pairs()
    assert f"- ~/.claude:{given['CLAUDE_CONFIG_DIR']}\n" in text
    assert f':{given["PORT"]}"\n' in text
    if file == "compose.dev.yaml":
        assert f"- .:{dockerfile.only(IMAGE, 'WORKDIR').rest}\n" in text
    else:
        (grace,) = re.findall(r"stop_grace_period: (\d+)s", text)
        assert int(grace) > Settings().drain_timeout


def test_the_lines_that_are_written() -> None:
    """They publish the port, mount the folder and name the files that there are."""
    run, compose = [block.text for block in document.blocks(document.DEPLOYING) if block.section == "Docker"]
    given = dockerfile.only(IMAGE, "ENV").pairs()
    assert f" -p 8000:{given['PORT']} -v ~/.claude:{given['CLAUDE_CONFIG_DIR']} " in run
    assert all((ROOT / name).exists() for name in re.findall(r"-f (\S+)", compose))
