"""The arrows between the folders, read from the imports."""

from __future__ import annotations

import ast
import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# What each place may import of ours, beside itself. A place that isn't here has no arrows yet: draw them in
# docs/ARCHITECTURE.md, then here.
ARROWS: dict[str, set[str]] = {
    "config": {"configuration"},
    "configuration": set(),
    "commands": {"config", "configuration", "guard", "start", "telemetry"},
    "start": {"sessions", "toolbox", "config", "claude_cli", "guard", "turns", "telemetry"},
    "sessions": {"storage"},
    "descriptors": set(),
    "turns": {"sessions", "descriptors"},
    "claude_cli": {"turns", "standin", "storage", "descriptors"},
    "storage": set(),
    "toolbox": {"turns", "storage"},
    "wire": set(),
    "translate": {"wire", "turns"},
    "telemetry": set(),
    "guard": {"wire", "telemetry", "storage"},
    "routes": {"translate", "wire", "turns", "sessions", "guard", "telemetry", "toolbox"},
    "standin": set(),
    "bench": set(),
    "chaos": {"bench", "standin"},
    "tools": set(),
    "deploy": set(),
    "examples": set(),
    # The demos are clients: they know the server by its HTTP API only.
    "demo_support": set(),
    "parallel_client_demo": {"demo_support"},
    "multi_turn_demo": {"demo_support"},
    "session_demo": {"demo_support"},
}
# Single files that may do more.
MORE: dict[str, set[str]] = {
    # What a CLI can do is seen at a stand-in for the API.
    "claude_cli/selftest.py": {"standin"},
    "claude_cli/sandbox.py": {"standin"},
}
# These put the parts together, or look at them.
EVERYTHING = {"claude_api", "tests"}
# Plain functions and classes, driven by bytes and events.
PURE_OF_THE_ENGINE = (
    *("framing", "frames", "control", "events", "argv", "state", "plain"),
    *("blocks", "mcp", "attempt_spec", "redact"),
    *("cli_tools", "cli_tool_events", "unsupported"),
)
PURE = [
    *(f"claude_cli/{name}.py" for name in PURE_OF_THE_ENGINE),
    *(
        "turns/answer_format.py",
        "turns/answer_check.py",
        "turns/calls.py",
        "turns/errors.py",
        "turns/model.py",
        "turns/retry.py",
    ),
    *("translate", "wire"),
]
NOT_IN_PURE = {
    *("asyncio", "anyio", "fastapi", "starlette", "httpx", "socket", "subprocess", "threading", "logging"),
    *("structlog", "random"),
}
# The demos and the tools are programs of their own.
MAY_READ_THE_ENVIRONMENT = {"config.py", "tests", "tools", "bench", "demo_support", "deploy", "examples"}


def python_files(place: Path) -> Iterator[Path]:
    if place.suffix == ".py":
        yield place
    elif place.is_dir() and not place.name.startswith((".", "__")):
        for inner in sorted(place.iterdir()):
            yield from python_files(inner)


def name_of(path: Path) -> str:
    """The top-level name that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


FILES = list(python_files(ROOT))
OURS = {name_of(path) for path in FILES}


def imports(path: Path) -> set[str]:
    """The modules that a file names in its imports, wherever in the file they are."""
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


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


PRODUCT = [path for path in FILES if name_of(path) not in EVERYTHING]


def test_every_place_has_its_arrows() -> None:
    assert {"claude_api", "config", "sessions", "turns", "claude_cli", "wire", "translate", "routes"} <= OURS
    assert not OURS - set(ARROWS) - EVERYTHING


@pytest.mark.parametrize("path", PRODUCT, ids=map(shown, PRODUCT))
def test_arrows(path: Path) -> None:
    place = name_of(path)
    assert tops(path) & OURS <= ARROWS[place] | MORE.get(shown(path), set()) | {place}


def test_each_file_that_may_do_more_needs_to() -> None:
    for name, more in MORE.items():
        assert more <= tops(ROOT / name), name


def test_the_engine_knows_only_the_words_of_the_core() -> None:
    for path in python_files(ROOT / "claude_cli"):
        of_turns = {".".join(name.split(".")[:2]) for name in imports(path) if name.startswith("turns")}
        assert of_turns <= {"turns.errors", "turns.model"}, shown(path)


def test_translation_knows_only_the_words_of_the_core() -> None:
    for path in python_files(ROOT / "translate"):
        of_turns = {".".join(name.split(".")[:2]) for name in imports(path) if name.startswith("turns")}
        words = {"answer_format", "calls", "errors", "model", "strict_json"}
        assert of_turns <= {f"turns.{name}" for name in words}, shown(path)


@pytest.mark.parametrize("place", PURE)
def test_what_decides_does_no_io(place: str) -> None:
    files = list(python_files(ROOT / place))
    assert files
    for path in files:
        assert not tops(path) & NOT_IN_PURE, shown(path)


def test_only_the_settings_read_the_environment() -> None:
    for path in FILES:
        if path.relative_to(ROOT).parts[0] in MAY_READ_THE_ENVIRONMENT:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            # Names of parameters are fine; what counts is the module's.
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
                assert node.attr not in ("environ", "environb", "getenv", "getenvb", "putenv"), shown(path)
        assert not imports(path) & {"os.environ", "os.environb", "os.getenv", "os.putenv"}, shown(path)


def test_no_name_of_ours_hides_a_library() -> None:
    installed = set(importlib.metadata.packages_distributions()) | sys.stdlib_module_names
    assert not OURS & installed
    # Not installed everywhere, but what clients and demos import.
    assert not OURS & {
        "openai",
        "anthropic",
        "http",
        "queue",
        "types",
        "httpx",
        "limits",
        "prometheus_client",
    }
