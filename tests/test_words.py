"""What docstrings name is there: errors that are raised, and every word in backticks."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT

FILES = sorted((ROOT / "claude_server").rglob("*.py"))
_RAISES = re.compile(r"\b[Rr]aises? ((?:[\w.']+(?:, and |, or |, | and | or ))*[\w.']+)")
_QUOTED = re.compile(r"`([^`\n]+)`")
_NAME = re.compile(r"[A-Za-z_]\w*")
# Errors of libraries that docstrings may name, and the words that are no errors behind "Raises".
LIBRARY_ERRORS = {"ClientDisconnect", "ValidationError", "HTTPException"}


def names_in(tree: ast.AST) -> Iterator[str]:
    """Every name that a module defines or uses: functions, parameters, attributes, keys, literals."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg
        elif isinstance(node, ast.alias):
            yield from node.name.split(".")


def docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            text = ast.get_docstring(node, clean=False)
            if text is not None:
                yield getattr(node, "lineno", 1), text


def literals(tree: ast.AST) -> set[str]:
    """The texts of a module, but for its docstrings: what goes over the wire and on command lines."""
    docs = {text for _, text in docstrings(tree)}
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in docs
    }


TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
NAMES = {name for tree in TREES.values() for name in names_in(tree)} | set(dir(builtins))
MODULES = {part for path in FILES for part in path.relative_to(ROOT).with_suffix("").parts}
WORDS = {word for tree in TREES.values() for text in literals(tree) for word in _NAME.findall(text)}
CLASSES = {node.name for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_errors_that_are_raised_exist(path: Path) -> None:
    known = CLASSES | set(dir(builtins)) | LIBRARY_ERRORS
    for line, text in docstrings(TREES[path]):
        for found in _RAISES.findall(" ".join(text.split())):
            for word in re.split(r", and |, or |, | and | or ", found):
                name = word.removesuffix("'s").rstrip(".").split(".")[-1]
                if name[:1].isupper():
                    assert name in known, f"line {line}: {name}"


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_words_in_backticks_exist(path: Path) -> None:
    for line, text in docstrings(TREES[path]):
        for quoted in _QUOTED.findall(text):
            assert is_known(quoted), f"line {line}: {quoted}"


def is_known(quoted: str) -> bool:
    """A name of the package or a word of its texts; or a command, a path, an expression made of these."""
    return all(word in NAMES | MODULES | WORDS for word in _NAME.findall(quoted))
