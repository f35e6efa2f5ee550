"""Values that are more than one word: whatever is written, there is a value or a sentence."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_server.configuration.values import listed, network, origin


@given(st.text())
def test_anything_is_a_list_or_a_complaint(text: str) -> None:
    try:
        found = listed(text)
    except ValueError as error:
        assert "list" in str(error)
    else:
        assert all(item == item.strip() != "" for item in found)


@given(st.lists(st.text(alphabet="abc:/.*", min_size=1)))
def test_both_ways_are_one(items: list[str]) -> None:
    assert listed(json.dumps(items)) == tuple(items)
    assert listed(" , ".join(items)) == tuple(items)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("*", "*"),
        ("https://Example.org", "https://example.org"),
        ("http://localhost:3000/", "http://localhost:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ("tauri://localhost", "tauri://localhost"),
        ("app://obsidian.md", "app://obsidian.md"),
        ("vscode-webview://*", "vscode-webview://*"),
    ],
)
def test_origins(text: str, plain: str) -> None:
    assert origin(text) == plain


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "example.org",
        "//example.org",
        "http://",
        "http://a/b",
        "http://a?b",
        "http://a b",
        "http://*",
        "https://*",
        "file://*",
        "*://*",
        "vscode-webview://*.x",
        "vscode-webview://a*",
    ],
)
def test_what_is_no_origin(text: str) -> None:
    with pytest.raises(ValueError, match="is no origin"):
        origin(text)


@pytest.mark.parametrize(
    ("text", "plain"),
    [("10.1.2.3", "10.1.2.3/32"), ("10.1.2.3/8", "10.0.0.0/8"), ("2001:db8::1/32", "2001:db8::/32")],
)
def test_networks(text: str, plain: str) -> None:
    assert network(text) == plain
    with pytest.raises(ValueError, match="is no address or network"):
        network(f"{text}/x")
