"""docs/clients.md: its versions are those that are pinned and installed, its tests are there."""

from __future__ import annotations

import ast
import importlib.metadata
import json

import pytest

from tests.clients.environments import FOLDER, GROUPS, HERE, NODE, pinned
from tests.readme.document import DOCS, names, rows

PAGE = DOCS / "clients.md"
TABLE = [
    (names(client)[0], version, what, names(tests)) for client, version, what, tests in rows("Clients", PAGE)
]


def installed(group: str) -> dict[str, str]:
    """The versions in an environment, by names as in its list."""
    if group == NODE:
        modules = FOLDER / NODE / "node_modules"
        packages = {name: modules / name / "package.json" for name in pinned(NODE)}
        return {name: json.loads(file.read_text())["version"] for name, file in packages.items()}
    (folder,) = (FOLDER / group / "lib").glob("python*/site-packages")
    found = importlib.metadata.distributions(path=[str(folder)])
    return {each.metadata["Name"].lower().replace("_", "-"): each.version for each in found}


@pytest.mark.parametrize("group", [NODE, *GROUPS])
def test_versions(group: str) -> None:
    there, asked = installed(group), pinned(group)
    assert {name: there[name] for name in asked} == asked


def test_every_client_is_in_the_table() -> None:
    asked = sorted(pair for group in (NODE, *GROUPS) for pair in pinned(group).items())
    assert sorted((name, version) for name, version, _, _ in TABLE) == asked


def test_the_named_tests_are_there() -> None:
    known = {
        node.name
        for file in HERE.glob("test_*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef)
    }
    for name, _, what, tests in TABLE:
        assert what and tests, name
        for test in tests:
            assert any(each.startswith(test) for each in known), test
