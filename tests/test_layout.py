"""The arrows between the rooms, read from the imports."""

from __future__ import annotations

import ast
import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "claude_server"
# What each room may import of ours, beside itself and the rooms inside it. A room that isn't here has no
# arrows yet: draw them in docs/ARCHITECTURE.md, then here. The longest name that fits a module is its room.
ARROWS: dict[str, set[str]] = {
    "claude_server.app": {
        "claude_server.jobs",
        *("claude_server.http", "claude_server.dialects", "claude_server.core", "claude_server.engine"),
        *("claude_server.stores", "claude_server.toolbox", "claude_server.telemetry"),
        *("claude_server.configuration", "claude_server.private", "claude_server.command_line"),
    },
    "claude_server.http": {
        *("claude_server.dialects", "claude_server.core", "claude_server.toolbox"),
        *("claude_server.telemetry", "claude_server.jobs"),
    },
    "claude_server.http.guard": {
        *("claude_server.dialects", "claude_server.telemetry", "claude_server.private"),
        "claude_server.command_line",
    },
    "claude_server.dialects": {"claude_server.core"},
    "claude_server.jobs": {"claude_server.dialects", "claude_server.core"},
    "claude_server.core": {"claude_server.descriptors"},
    "claude_server.engine": {"claude_server.core"},
    # The four layers of the engine: each knows those below it.
    "claude_server.engine.protocol": {"claude_server.core"},
    "claude_server.engine.processes": {
        *("claude_server.core", "claude_server.private", "claude_server.engine.protocol"),
        "claude_server.descriptors",
    },
    "claude_server.engine.workers": {
        *("claude_server.core", "claude_server.engine.protocol", "claude_server.engine.processes"),
    },
    "claude_server.engine.discovery": {
        *("claude_server.core", "claude_server.standin", "claude_server.descriptors"),
        *("claude_server.engine.protocol", "claude_server.engine.processes", "claude_server.engine.workers"),
    },
    "claude_server.stores": {"claude_server.core", "claude_server.private"},
    "claude_server.toolbox": {"claude_server.core", "claude_server.private"},
    "claude_server.telemetry": {"claude_server.core"},
    "claude_server.configuration": {"claude_server.command_line"},
    "claude_server.command_line": set(),
    "claude_server.private": set(),
    "claude_server.descriptors": set(),
    "claude_server.standin": set(),
    "claude_server.__main__": {"claude_server.app"},
    # The faces at the top, and programs that know the server from outside.
    "claude_api": {"claude_server.app"},
    "config": {"claude_server.configuration"},
    "sessions": {"claude_server.core", "claude_server.stores"},
    "lab.bench": set(),
    "lab.chaos": {"lab.bench", "claude_server.standin"},
    "lab.demo": {"claude_server.standin"},
    "lab.demo_support": set(),
    "lab.find_cli": set(),
    "deploy": set(),
    "examples": set(),
    "parallel_client_demo": {"lab.demo_support"},
    "multi_turn_demo": {"lab.demo_support"},
    "session_demo": {"lab.demo_support"},
}
# They look at everything.
EVERYTHING = {"tests"}
# Rooms and modules without I/O: plain functions and classes, driven by bytes and events.
PURE = (
    "claude_server/engine/protocol",
    *(f"claude_server/engine/processes/{name}.py" for name in ("argv", "cli_tools")),
    *(
        f"claude_server/engine/workers/{name}.py"
        for name in ("attempt_spec", "counters", "demand", "state", "suspended", "thinking", "unsupported")
    ),
    *(
        f"claude_server/core/{name}.py"
        for name in (
            "answer_format",
            "entry",
            "answer_check",
            "calls",
            "cli_tools",
            "errors",
            "model",
            "ports",
            "retry",
        )
    ),
    "claude_server/dialects",
    "claude_server/http/admin/wire",
    *(f"claude_server/http/admin/{name}.py" for name in ("compatibility", "page_text", "times")),
    *(f"claude_server/http/{name}.py" for name in ("tool_requests", "model_names", "encoding")),
)
NOT_IN_PURE = {
    *("asyncio", "anyio", "fastapi", "starlette", "httpx", "socket", "subprocess", "threading", "logging"),
    *("structlog", "random"),
}
# The demos and the tests are programs of their own.
MAY_READ_THE_ENVIRONMENT = ("claude_server/configuration/loading.py", "tests", "lab", "deploy", "examples")


def python_files(place: Path) -> Iterator[Path]:
    if place.suffix == ".py":
        yield place
    elif place.is_dir() and not place.name.startswith((".", "__")):
        for inner in sorted(place.iterdir()):
            yield from python_files(inner)


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str | None:
    """The room that a module belongs to; None for what is not ours."""
    fitting = [room for room in ARROWS if module == room or module.startswith(f"{room}.")]
    return max(fitting, key=len, default=None)


FILES = list(python_files(ROOT))
PRODUCT = [path for path in FILES if path.relative_to(ROOT).parts[0] not in EVERYTHING]
TOPS = {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in FILES}


def imports(path: Path) -> set[str]:
    """The names that a file imports, wherever in the file they are."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports here are absolute"
            assert node.module is not None
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def tops(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


@pytest.mark.parametrize("path", PRODUCT, ids=map(shown, PRODUCT))
def test_arrows(path: Path) -> None:
    if module_of(path) in (PACKAGE, "lab"):
        assert not tops(path) & TOPS
        return
    room = room_of(module_of(path))
    assert room is not None, "draw its arrows in docs/ARCHITECTURE.md, then in this test"
    for name in imports(path):
        if name.split(".")[0] not in TOPS:
            continue
        other = room_of(name)
        assert other is not None, name
        allowed = ARROWS[room] | {room}
        assert any(other == one or other.startswith(f"{one}.") for one in allowed), f"{name} in {room}"


def test_every_arrow_is_used() -> None:
    used: dict[str, set[str]] = {room: set() for room in ARROWS}
    for path in PRODUCT:
        if (room := room_of(module_of(path))) is not None:
            used[room] |= {other for name in imports(path) if (other := room_of(name)) is not None}
    for room, others in ARROWS.items():
        for other in others:
            assert any(u == other or u.startswith(f"{other}.") for u in used[room]), f"{room} -> {other}"


def words_of_the_core(place: str) -> set[str]:
    core = f"{PACKAGE}.core."
    names = {name for path in python_files(ROOT / place) for name in imports(path) if name.startswith(core)}
    return {name.removeprefix(core).split(".")[0] for name in names}


def test_the_engine_knows_only_the_words_of_the_core() -> None:
    assert words_of_the_core("claude_server/engine") <= {
        *("backend", "cli_tools", "errors", "model", "pictures"),
    }


def test_dialects_know_only_the_words_of_the_core() -> None:
    assert words_of_the_core("claude_server/dialects") <= {
        *("answer_format", "calls", "cli_tools", "entry", "errors", "model", "pictures", "strict_json"),
    }


def test_dialects_are_known_by_their_table() -> None:
    """Only the endpoints beside the dialects may know one of them, and no dialect knows another."""
    dialects = f"{PACKAGE}.dialects."
    folders = {path.name for path in (ROOT / PACKAGE / "dialects").iterdir() if (path / "door.py").exists()}
    assert folders
    for path in PRODUCT:
        place = shown(path).split("/")
        known = {
            name.removeprefix(dialects).split(".")[0] for name in imports(path) if name.startswith(dialects)
        }
        if place[:3] != [PACKAGE, "http", "admin"] and place[:3] != [PACKAGE, "dialects", "table.py"]:
            assert known & folders <= set(place), shown(path)


@pytest.mark.parametrize("place", PURE)
def test_what_decides_does_no_io(place: str) -> None:
    files = list(python_files(ROOT / place))
    assert files
    for path in files:
        assert not tops(path) & NOT_IN_PURE, shown(path)


def test_only_the_settings_read_the_environment() -> None:
    for path in FILES:
        if shown(path).startswith(MAY_READ_THE_ENVIRONMENT):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            # Names of parameters are fine; what counts is the module's.
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
                assert node.attr not in ("environ", "environb", "getenv", "getenvb", "putenv"), shown(path)
        assert not imports(path) & {"os.environ", "os.environb", "os.getenv", "os.putenv"}, shown(path)


def test_no_name_of_ours_hides_a_library() -> None:
    installed = set(importlib.metadata.packages_distributions()) | sys.stdlib_module_names
    assert not TOPS & (installed - {PACKAGE})
    # Not installed everywhere, but what clients and demos import.
    assert not TOPS & {"openai", "anthropic", "httpx", "limits", "prometheus_client"}


def test_few_folders_stand_at_the_top() -> None:
    folders = [path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))]
    assert len(folders) <= 8
