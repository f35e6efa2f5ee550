"""The Dockerfile and .dockerignore, as far as ours go: enough to look at them, and to carry them out."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tests.support import ROOT

DOCKERFILE = ROOT / "Dockerfile"


@dataclass(frozen=True)
class Step:
    """An instruction: `COPY`, and what comes after it on its lines."""

    word: str
    rest: str

    def pairs(self) -> dict[str, str]:
        """The names and values of an ENV or ARG."""
        return dict(pair.split("=", 1) for pair in shlex.split(self.rest))

    def command(self) -> list[str]:
        """The words of an instruction in JSON's form, after its flags."""
        words: list[str] = json.loads(self.rest[self.rest.index("[") :])
        return words


def stages() -> list[list[Step]]:
    """The steps of each stage; the first of each is its FROM."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found: list[list[Step]] = []
    for line in joined.splitlines():
        if line.strip():
            word, _, rest = line.partition(" ")
            if word == "FROM":
                found.append([])
            found[-1].append(Step(word, rest.strip()))
    return found


def only(steps: list[Step], word: str) -> Step:
    """The one instruction of this kind."""
    (step,) = [step for step in steps if step.word == word]
    return step


def is_left_out(path: PurePosixPath) -> bool:
    """Does .dockerignore keep this file of the source out of the build?"""
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    for place in (path, *path.parents[:-1]):
        for pattern in patterns:
            deep = pattern.removeprefix("**/")
            if fnmatch.fnmatchcase(str(place), pattern) and str(place).count("/") == pattern.count("/"):
                return True
            if deep != pattern and fnmatch.fnmatchcase(place.name, deep):
                return True
    return False


def context() -> list[Path]:
    """The files that the build gets, below the source's folder."""
    skipped = {".git", ".venv", ".cache"}
    found: list[Path] = []
    for path in sorted(ROOT.iterdir()):
        if path.name not in skipped:
            found += [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return [path for path in found if not is_left_out(PurePosixPath(path.relative_to(ROOT)))]
