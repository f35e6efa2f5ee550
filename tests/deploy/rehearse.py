"""Carry the Dockerfile's steps out without Docker, and run its entry point as a user without rights.

    debootstrap --variant=minbase bookworm BASE      and Python 3.12 in BASE/usr/local
    python -m tests.deploy.rehearse BASE WORK

Needs root, for chroot and namespaces, and 2 GB in WORK. BASE stands for python:3.12-slim. The network is the
machine's own, so that the container's CLI reaches the stand-in for the API on loopback. Not a test: it takes
minutes, and installs from the registries.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx
import psutil

from claude_server.standin import StandIn
from tests.deploy import dockerfile
from tests.deploy.dockerfile import Step
from tests.support import ROOT

KEY = re.compile(r"sk-capi-\S+")
PATIENCE = 120.0
# Inside: a /proc of the new process ids, a bare /dev, an empty /tmp.
MOUNTS = """
set -e
mount -t proc proc "$1/proc"
mount -t tmpfs tmpfs "$1/tmp"
chmod 1777 "$1/tmp"
for name in null zero random urandom tty; do
    touch "$1/dev/$name"
    mount --bind "/dev/$name" "$1/dev/$name"
done
"""
# What pip and apt need here to reach their registries; the image has none of it.
LEND = """
for path in /etc/resolv.conf /etc/ssl/certs /etc/pip.conf; do
    [ -e "$path" ] || continue
    if [ -d "$path" ]; then mkdir -p "$1$path"; else touch "$1$path"; fi
    mount --bind "$path" "$1$path"
done
"""


def build(base: Path, work: Path) -> Path:
    """The image's root, from the Dockerfile."""
    roots: dict[str, Path] = {}
    for number, steps in enumerate(dockerfile.stages()):
        name = steps[0].rest.partition(" AS ")[2] or f"stage{number}"
        root = roots[name] = work / name
        shutil.rmtree(root, ignore_errors=True)
        subprocess.run(["cp", "-a", "--reflink=auto", str(base), str(root)], check=True)
        environment = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        folder = "/"
        for step in steps[1:]:
            print(f"[{name}] {step.word} {step.rest[:100]}", flush=True)
            if step.word in ("ENV", "ARG"):
                environment |= step.pairs()
            elif step.word == "WORKDIR":
                folder = step.rest
                (root / folder[1:]).mkdir(parents=True, exist_ok=True)
            elif step.word == "RUN":
                run_step(root, step, environment)
            elif step.word == "COPY":
                copy(root, step, folder, roots)
    return root


def run_step(root: Path, step: Step, environment: Mapping[str, str]) -> None:
    given = {**environment, "PIP_CERT": "/etc/ssl/certs/ca-certificates.crt"}
    script = f'{MOUNTS}{LEND}exec /usr/sbin/chroot "$1" /bin/sh -c "$2"'
    command = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", script, "sh", str(root), step.rest]
    subprocess.run(command, env=given, check=True)


def copy(root: Path, step: Step, folder: str, roots: Mapping[str, Path]) -> None:
    words = step.rest.split()
    target = words[-1] if words[-1].startswith("/") else f"{folder}/{words[-1]}"
    to = root / target[1:]
    if words[0].startswith("--from="):
        source = roots[words[0].removeprefix("--from=")] / words[1][1:]
        to.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", "-T", str(source), str(to)], check=True)
    else:
        only = None if words[0] == "." else words[0]
        for file in dockerfile.context():
            name = str(file.relative_to(ROOT))
            if only in (None, name):
                place = to / name
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, place)


class Container:
    """A run of the entry point, as `docker run` would start it: nothing mounted but what is said."""

    def __init__(
        self,
        root: Path,
        user: int,
        mounted: Path | None,
        environment: Mapping[str, str],
        words: Sequence[str] = (),
    ) -> None:
        steps = dockerfile.stages()[-1]
        given = {**dockerfile.only(steps, "ENV").pairs(), **environment}
        self.folder = dockerfile.only(steps, "WORKDIR").rest
        script = MOUNTS
        if mounted:
            # As with read_only in compose.yaml: nothing but the mounted folder and /tmp can be written to.
            script = f'mount --bind "$1" "$1"\n{MOUNTS}mount --bind "{mounted}" "$1/root/.claude"\n'
            script += 'mount -o remount,bind,ro "$1"\n'
        drop = f"setpriv --reuid={user} --regid={user} --clear-groups --bounding-set=-all --no-new-privs"
        script += f'root=$1; shift; exec /usr/sbin/chroot "$root" {drop} "$@"'
        inner = ["sh", "-c", f'cd {self.folder} && exec "$@"', "sh"]
        command = [*dockerfile.only(steps, "ENTRYPOINT").command(), *words]
        self._process = subprocess.Popen(
            [
                *("unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child"),
                *("sh", "-c", script, "sh", str(root), *inner, *command),
            ],
            env=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output: list[str] = []
        # One that hangs is ended, and what was waited for is missing.
        self._limit = threading.Timer(PATIENCE, self._process.kill)
        self._limit.start()

    def wait_for(self, pattern: str) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.output.append(line.rstrip())
            if found := re.search(pattern, line):
                return found[1] if found.groups() else found[0]
        raise AssertionError(f"no {pattern!r} in:\n" + "\n".join(self.output))

    def users(self) -> set[int]:
        """Whose the processes inside are."""
        return {child.uids().real for child in self._inside()}

    def _inside(self) -> list[psutil.Process]:
        return psutil.Process(self._process.pid).children(recursive=True)

    def ended(self) -> None:
        """Wait for one that ends by itself."""
        self._process.wait(PATIENCE)
        self._limit.cancel()

    def stop(self) -> tuple[int, float]:
        """`docker stop`: SIGTERM to process 1; the status, and the seconds that it took."""
        began = time.monotonic()
        (first,) = psutil.Process(self._process.pid).children()
        first.send_signal(signal.SIGTERM)
        assert self._process.stdout is not None
        self.output += self._process.stdout.read().splitlines()
        status = self._process.wait(PATIENCE)
        self._limit.cancel()
        return status, time.monotonic() - began


@contextlib.contextmanager
def folder_of(user: int, work: Path) -> Iterator[Path]:
    """A ~/.claude that belongs to a user, with a made-up login."""
    place = work / f"claude-of-{user}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700)
    token = {"accessToken": "sk-ant-oat01-made-up", "refreshToken": "sk-ant-ort01-made-up"}
    rights = {"expiresAt": 4_000_000_000_000, "scopes": ["user:inference"], "subscriptionType": "max"}
    login = place / ".credentials.json"
    login.write_text(json.dumps({"claudeAiOauth": {**token, **rights}}))
    login.chmod(0o600)
    for path in (place, login):
        os.chown(path, user, user)
    yield place


def ask(port: int, key: str, session: str | None = None) -> httpx.Response:
    body = {"messages": [{"role": "user", "content": "hi"}], "session_id": session}
    return httpx.post(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json={name: value for name, value in body.items() if value is not None},
        headers={"Authorization": f"Bearer {key}"},
        timeout=PATIENCE,
    )


def check(root: Path, work: Path, api_url: str) -> None:
    """The documented ways to start it."""
    api = {"ANTHROPIC_BASE_URL": api_url}
    for user in (1000, 4242):
        with folder_of(user, work) as mounted:
            key = ""
            for number in (1, 2):
                container = Container(root, user, mounted, api)
                if number == 1:
                    key = container.wait_for(KEY.pattern)
                port = int(container.wait_for(r"is ready on http://\S+:(\d+)"))
                container.wait_for(r"logged in \(claude.ai Claude Max\)")
                assert port == 8000 and container.users() == {user}, container.users()
                assert ask(port, "wrong").status_code == 401
                answer = ask(port, key, "notes")
                assert answer.status_code == 200, answer.text
                state = answer.headers["x-claude-session"]
                assert state == ("created" if number == 1 else "resumed"), state
                status, seconds = container.stop()
                print(
                    f"user {user}, start {number}: {state}, ended with {status} in {seconds:.1f} s",
                    flush=True,
                )
                assert status == 0
                assert number == 1 or not KEY.search("\n".join(container.output))
            print(sorted(str(path.relative_to(mounted)) for path in mounted.glob("*/*")), flush=True)
    with folder_of(1234, work) as mounted:
        container = Container(root, 1000, mounted, api)
        said = container.wait_for("docker run --user 1234:1234")
        container.ended()
        print(f"somebody else's folder: {said}", flush=True)
    with folder_of(1000, work) as mounted:
        container = Container(root, 1000, mounted, api, ["--reload", "--log-level", "debug"])
        container.wait_for(KEY.pattern)
        container.wait_for("is ready on")
        assert container.stop()[0] == 0
        print("--reload: serves", flush=True)
    # The image's own folder, as it was built.
    for path in (root / "root" / ".claude").iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    container = Container(root, 1000, None, {**api, "PORT": "8123"})
    container.wait_for(KEY.pattern)
    assert container.wait_for(r"is ready on http://\S+:(\d+)") == "8123"
    assert container.stop()[0] == 0
    print("nothing mounted, PORT=8123: serves", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("base", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--built", action="store_true", help="use what WORK has from an earlier run")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    last = f"stage{len(dockerfile.stages()) - 1}"
    root = options.work / last if options.built else build(options.base, options.work)
    with StandIn() as api:
        check(root, options.work, api.url)
    print("all as documented", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
