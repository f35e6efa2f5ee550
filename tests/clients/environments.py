"""Where `make test-clients` installs the clients, and what it installs there."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.support import ROOT

FOLDER = ROOT / ".cache" / "clients"
HERE = Path(__file__).resolve().parent
NODE = "node"
GROUPS = sorted(file.stem for file in (HERE / "requirements").glob("*.txt"))


# What Node's clients need beside them.
_BESIDE = ("node", "zod")


def pinned(group: str) -> dict[str, str]:
    """The clients of a group, and the version of each that is asked for."""
    if group == NODE:
        wanted: dict[str, str] = json.loads((HERE / "package.json").read_text())["dependencies"]
        return {name: version for name, version in wanted.items() if name not in _BESIDE}
    text = (HERE / "requirements" / f"{group}.txt").read_text()
    return dict(re.findall(r"^([\w.-]+)(?:\[\w+\])?==(\S+)$", text, re.MULTILINE))


def interpreter(group: str) -> Path:
    """What runs the programs of a group."""
    inside = Path("node_modules", ".bin", "node") if group == NODE else Path("bin", "python")
    path = FOLDER / group / inside
    assert path.exists(), "run the tests with: make test-clients"
    return path
