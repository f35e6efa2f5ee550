"""Keys and tokens don't get out."""

from __future__ import annotations

import time

import pytest

from claude_server.engine.protocol.redact import redacted, secrets_in, without_secrets
from tests.growth import grows_no_faster_than_its_input


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("invalid x-api-key: sk-ant-api03-made_up-Key123 given", "sk-ant-api03-made_up-Key123"),
        ("Authorization: Bearer abcdefgh.1234/x+y== was refused", "abcdefgh.1234/x+y=="),
        ("token eyJhbGciOi.eyJzdWIiOjEy.c2lnbmF0dXJl", "eyJhbGciOi.eyJzdWIiOjEy.c2lnbmF0dXJl"),
        ('{"accessToken": "made-up-token", "expiresAt": 4}', "made-up-token"),
        ("in a.b.eyJhbGciOi.eyJzdWIiOjEy.c2ln.eyJhbGciOi.eyJzdWIiOjEz.c2lo", "eyJzdWIiOjEz"),
        ("x-eyJhbGciOi.eyJzdWIiOjEy.c2lnbmF0dXJl", "eyJzdWIiOjEy"),
        ("one:two:token:made-up-token", "made-up-token"),
        ("AWS_SECRET_ACCESS_KEY=made/up+secret", "made/up+secret"),
        ("key AKIAABCDEFGHIJKLMNOP", "AKIAABCDEFGHIJKLMNOP"),
        ("connect to http://user:made-up-pw@proxy:3128 failed", "user:made-up-pw"),
        ("https://x.example/?api_key=made-up-key&y=1", "made-up-key"),
        ("ya29.made-up-token", "ya29.made-up-token"),
        ("ghp_abcdefghijklmnop", "ghp_abcdefghijklmnop"),
        ("ANTHROPIC_AUTH_TOKEN: 'made-up-token'", "made-up-token"),
    ],
)
def test_secrets(text: str, secret: str) -> None:
    assert secret in text
    assert secret not in redacted(text) and "***" in redacted(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Fix the JSON in /home/me/.claude.json, or move the file aside.",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "There's an issue with the selected model (claude-sonnet-4-6).",
        "unknown option '--resume-session-at'",
        "The claude CLI is not logged in. Log in with `claude auth login`.",
        "a task-force of risk-averse people at https://example.com/a/b",
        "messages.1: `tool_use` ids were found without `tool_result` blocks: toolu_0123456789",
    ],
)
def test_what_is_no_secret(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize("secret", ["correct horse battery", "π-secret", "(a|b)*", "aGVsbG8=\n"])
def test_a_known_secret_of_any_form(secret: str) -> None:
    assert redacted(f"x{secret}y {secret}", [secret, "x", ""]) == "x***y ***"


def test_a_secret_that_holds_another_one() -> None:
    assert redacted("made-up-key and made-up", ["made-up", "made-up-key"]) == "*** and ***"


@pytest.mark.parametrize(
    "unit",
    [
        *("a", "-", "token", "token-", "token=", "a:", "ey-", "eyaaaaaaaa.", "sk-", "://", "://a:b", " :"),
        *("x=", "secret ", "bearer ", "a.", ".", "'", "gha_", "api_key\t"),
    ],
)
def test_the_time_goes_by_the_length(unit: str) -> None:
    grows_no_faster_than_its_input(redacted, lambda size: unit * (size // len(unit)))


def test_what_is_passed_on_is_known() -> None:
    given = {
        "ANTHROPIC_API_KEY": "correct horse",
        "ANTHROPIC_CUSTOM_HEADERS": "x-team: blue whale\nx-auth: Bearer battery-staple",
        "HTTPS_PROXY": "http://me:hunter2@proxy:3128",
        "GOOGLE_APPLICATION_CREDENTIALS": "/home/me/key.json",
        "MAX_THINKING_TOKENS": "100000",
        "CLAUDE_CODE_OAUTH_TOKEN": "short",
        "HOME": "/home/me",
        "LANG": "C.UTF-8",
    }
    known = secrets_in(given, [("authorization", "Basic bWFkZS11cA==")])
    assert {"correct horse", "blue whale", "battery-staple", "hunter2", "bWFkZS11cA=="} <= known
    assert not known & {"/home/me/key.json", "100000", "short", "/home/me", "C.UTF-8", "Bearer", "Basic"}


def test_only_failures_are_searched_for_what_is_known() -> None:
    """An answer of the model's is its own."""
    good = {"type": "result", "is_error": False, "result": "the word"}
    assert without_secrets(good, ["the word"]) is good
    bad = {"type": "result", "is_error": True, "result": "no: the word", "errors": ["the word", None]}
    assert without_secrets(bad, ["the word"]) == {**bad, "result": "no: ***", "errors": ["***", None]}


@pytest.mark.parametrize("place", [15_000, 16_500, 19_980, 19_999, 25_000])
@pytest.mark.parametrize("secret", ["sk-ant-" + "Ab1-" * 20, "open sesame" * 40])
def test_of_a_long_text_the_beginning_is_told(secret: str, place: int) -> None:
    """A secret at the place where it is cut is not told in part."""
    text = "a " * (place // 2) + secret + " a" * 150_000
    told = redacted(text, ["open sesame" * 40])
    assert len(told) <= 16_003 and told.endswith("...")
    assert "sesame" not in told and "sk-ant" not in told


def test_a_long_text_is_soon_looked_at() -> None:
    began = time.process_time()
    for unit in ("a-", "a:", "a.b.", "ey", "://", "x"):
        redacted(unit * (300_000 // len(unit)))
    assert time.process_time() - began < 0.25
