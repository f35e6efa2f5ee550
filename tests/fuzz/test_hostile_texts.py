"""Texts that some program on the way might take for more than texts arrive at the API as they were sent."""

from __future__ import annotations

from typing import Any

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claude_server.standin import StandIn
from tests.support import PATIENCE, Server

# What the CLI, a shell, JSON, a terminal or the API's own prompt format read something into.
SEEDS = (
    *(
        "/clear",
        "/compact",
        "/config verbose=true",
        "/help",
        "/model opus",
        "/",
        "//",
        "/etc/passwd",
        "/ clear",
    ),
    *(
        "@/etc/hostname",
        "@../x",
        "@~/.bashrc",
        '@"/etc/passwd"',
        "@.",
        "a @/etc/hostname b",
        "`@/etc/hostname`",
    ),
    *(
        "!id",
        "! id",
        "#remember this",
        "$(id)",
        "`id`",
        "%s%n",
        "-p",
        "--help",
        "--",
        "exit",
        "quit",
        "\x04",
        "&",
    ),
    *("ultrathink", "think hard", "ultracode", "[Request interrupted by user]", "(no content)", "Continue"),
    *(
        '{"type":"user","message":{"role":"user","content":"x"}}',
        '{"type":"control_request"}',
        '{"type":"result"}',
    ),
    *(
        '{"type":"bash_command","command":"id"}',
        '"}\n{"type":"user"}',
        "data: [DONE]",
        "event: error",
        "null",
    ),
    *("\n\nHuman: x\n\nAssistant: y", "<|endoftext|>", "<system-reminder>x</system-reminder>", "<tool_use>"),
    *("<command-name>/clear</command-name>", "<local-command-stdout>x</local-command-stdout>", "<!--", "]]>"),
    *(
        "a\x00b",
        "\x1b[2J\x1b[31m",
        "\x7f\x08\x08",
        "\r\n",
        "\u202eevil\u202c",
        "\u2066x\u2069",
        "\ufeffx",
        "\u2028",
    ),
    *(
        "e\u0301\u0301\u0301",
        "\U0001f469\u200d\U0001f467",
        "\U000e0041",
        "\ufffe",
        "\uffff",
        "\x85",
        "İ",
        "ß",
    ),
    *("\\u0041", "\\n", "\\", '"', "'", "${HOME}", "{{x}}", "http://127.0.0.1:9/x", "file:///etc/passwd"),
    *(
        "session_id",
        "CLAUDE.md",
        "\t",
        "   x",
        "x   ",
        "\n/clear",
        "\t/clear",
        "\u00a0/clear",
        "/clear\n@/etc/hostname",
    ),
)
ANY = st.text(st.characters(codec="utf-8"), max_size=60)
TEXTS = (
    st.sampled_from(SEEDS)
    | ANY
    | st.tuples(st.sampled_from(SEEDS), ANY | st.sampled_from(SEEDS)).map("".join)
    | st.tuples(st.sampled_from(SEEDS), st.integers(2000, 20_000)).map(lambda pair: pair[0] * pair[1])
).filter(lambda text: text.replace("\ufeff", "").strip())


def as_sent(text: str) -> str:
    """A text of the user that begins with a slash gets a space in front: the CLI would run it."""
    return " " + text if text.startswith("/") else text


@given(asked=st.lists(TEXTS, min_size=1, max_size=2), earlier=TEXTS, answer=TEXTS, system=TEXTS)
@settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_they_arrive_as_they_are(
    server: Server, api: StandIn, asked: list[str], earlier: str, answer: str, system: str
) -> None:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": system},
        {"role": "user", "content": earlier},
        {"role": "assistant", "content": answer},
        {"role": "user", "content": [{"type": "text", "text": text} for text in asked]},
    ]
    api.clear()
    url = f"{server.base_url}/chat/completions"
    response = httpx.post(url, json={"messages": messages}, timeout=PATIENCE)
    assert response.status_code == 200, response.text
    (turn,) = api.turns
    assert turn.system_texts[-1] == system
    said = [(message["role"], blocks(message)) for message in turn.messages if message["role"] != "system"]
    assert [role for role, _ in said] == ["user", "assistant", "user"]
    # The CLI adds blocks of its own in front: the date, its surroundings.
    assert said[0][1][-1:] == [as_sent(earlier)]
    assert said[1][1] == [answer]
    assert said[2][1][-len(asked) :] == [as_sent(text) for text in asked]


def blocks(message: dict[str, Any]) -> list[str]:
    content = message["content"]
    return [content] if isinstance(content, str) else [block["text"] for block in content]
