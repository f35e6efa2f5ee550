"""docs/faults.md has every case; the tests that it and SECURITY.md name are there."""

from __future__ import annotations

import ast
import re

import pytest

from tests.readme.document import rows
from tests.support import ROOT

FAULTS = ROOT / "docs" / "faults.md"
ROWS = rows("The cases", FAULTS)
SECURITY = ROOT / "SECURITY.md"
TEXTS = FAULTS.read_text(encoding="utf-8") + SECURITY.read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[^`]+)`", TEXTS)))


def test_every_case_is_there_once() -> None:
    numbers = [int(number) for row in ROWS for number in row[0].split(", ")]
    assert numbers == list(range(1, 38))
    assert all("`tests/" in row[3] for row in ROWS)


@pytest.mark.parametrize("name", NAMED)
def test_each_test_that_is_named_is_one(name: str) -> None:
    file, _, function = name.partition("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    tests = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    # Where a whole file is named, it is about that.
    assert function in tests if function else any(test.startswith("test_") for test in tests)


def test_every_defence_names_its_test() -> None:
    lines = [line for line in SECURITY.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    assert [line for line in lines if "`tests/" not in line and not line.startswith("| threat |")] == []
