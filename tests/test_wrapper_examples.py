"""What users of claude-code-openai-wrapper were shown: the examples of its README, word for word but for the
address and the key, on a server with the `.env` of its README."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from claude_server.standin import Reply, StandIn, ToolUse
from tests.support import BASE_PATH, PATIENCE, Server, clean_environment, serving

KEY = "your-generated-api-key"
# Every model that it lists, and the one of its guide for Docker.
MODELS = (
    *("claude-sonnet-4-20250514", "claude-opus-4-20250514", "claude-3-7-sonnet-20250219"),
    *("claude-3-5-sonnet-20241022", "claude-3-5-haiku-20241022", "claude-3-5-sonnet-20240620"),
)
# Out of service; the CLI asks a newer Opus for it.
EXCHANGED = "claude-opus-4-20250514"
ENV_FILE = f"""
# Claude CLI path (usually just "claude")
CLAUDE_CLI_PATH=claude
# Optional API key for client authentication
API_KEY={KEY}
# Server port
PORT=0
# Timeout in milliseconds
MAX_TIMEOUT=600000
# CORS origins
CORS_ORIGINS=["*"]
"""
CURL = """
curl -X POST http://localhost:8000/v1/chat/completions \\
  -H "Content-Type: application/json" \\
  -H "Authorization: Bearer your-generated-api-key" \\
  -d '{
    "model": "claude-3-5-sonnet-20241022",
    "messages": [
      {"role": "user", "content": "What is 2 + 2?"}
    ]
  }'
"""
CURL_STREAMED = """
curl -X POST http://localhost:8000/v1/chat/completions \\
  -H "Content-Type: application/json" \\
  -H "Authorization: Bearer your-generated-api-key" \\
  -d '{
    "model": "claude-3-5-sonnet-20241022",
    "messages": [
      {"role": "user", "content": "Write a Python hello world script"}
    ],
    "stream": true
  }'
"""
CLIENT = """
from openai import OpenAI

client = OpenAI(base_url="http://localhost:8000/v1", api_key="your-generated-api-key")
"""
BASIC = """
response = client.chat.completions.create(
    model="claude-3-5-sonnet-20241022",
    messages=[
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "What files are in the current directory?"}
    ]
)
print(response.choices[0].message.content)
"""
WITH_TOOLS = """
response = client.chat.completions.create(
    model="claude-3-5-sonnet-20241022",
    messages=[
        {"role": "user", "content": "What files are in the current directory?"}
    ],
    extra_body={"enable_tools": True}  # Enable tools for file access
)
print(response.choices[0].message.content)
"""
COSTS = """
print(f"Cost: ${response.usage.total_tokens * 0.000003:.6f}")
print(f"Tokens: {response.usage.total_tokens} "
      f"({response.usage.prompt_tokens} + {response.usage.completion_tokens})")
"""
STREAMED = """
stream = client.chat.completions.create(
    model="claude-3-5-sonnet-20241022",
    messages=[
        {"role": "user", "content": "Explain quantum computing"}
    ],
    stream=True
)
for chunk in stream:
    if chunk.choices[0].delta.content:
        print(chunk.choices[0].delta.content, end="")
"""
SESSION = """
response1 = client.chat.completions.create(
    model="claude-3-5-sonnet-20241022",
    messages=[
        {"role": "user", "content": "Hello! My name is Alice and I'm learning Python."}
    ],
    extra_body={"session_id": "my-learning-session"}
)
response2 = client.chat.completions.create(
    model="claude-3-5-sonnet-20241022",
    messages=[
        {"role": "user", "content": "What's my name and what am I learning?"}
    ],
    extra_body={"session_id": "my-learning-session"}  # Same session ID
)
"""
# There the apostrophe of "What's" ends the shell's word.
CURL_SESSION = """
curl -X POST http://localhost:8000/v1/chat/completions \\
  -H "Content-Type: application/json" -H "Authorization: Bearer your-generated-api-key" \\
  -d '{
    "model": "claude-3-5-sonnet-20241022",
    "messages": [{"role": "user", "content": "My favorite color is blue."}],
    "session_id": "my-session"
  }'
curl -X POST http://localhost:8000/v1/chat/completions \\
  -H "Content-Type: application/json" -H "Authorization: Bearer your-generated-api-key" \\
  -d '{
    "model": "claude-3-5-sonnet-20241022",
    "messages": [{"role": "user", "content": "What is my favorite color?"}],
    "session_id": "my-session"
  }'
"""


@pytest.fixture(scope="module")
def moved(
    claude_bin: Path, shared_api: StandIn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The CLI is the `claude` on the PATH. Tools need the operator's word here."""
    home = tmp_path_factory.mktemp("moved")
    work = home / "work"
    work.mkdir()
    (work / "README.txt").write_text("x")
    (home / "claude").symlink_to(claude_bin)
    (home / ".env").write_text(ENV_FILE)
    environment = clean_environment(home, shared_api.url, CLAUDE_BIN=str(home / "claude"))
    del environment["CLAUDE_BIN"]
    environment |= {"PATH": f"{home}:{BASE_PATH}", "CLAUDE_ALLOW_TOOLS": "on", "CLAUDE_CWD": str(work)}
    with serving(home, environment) as running:
        yield running


def run(server: Server, *command: str) -> str:
    """What an example prints that ends well."""
    environment = {"PATH": BASE_PATH, "HOME": str(server.home), "LANG": "C.UTF-8"}
    words = [word.replace("http://localhost:8000", server.url) for word in command]
    ran = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def shell(server: Server, text: str) -> str:
    return run(server, "bash", "-euc", text)


def python(server: Server, *parts: str) -> str:
    return run(server, sys.executable, "-W", "error", "-c", "".join((CLIENT, *parts)))


def get(server: Server, path: str, *options: str) -> Any:
    words = ("curl", *options, "-H", f"Authorization: Bearer {KEY}", f"http://localhost:8000{path}")
    return json.loads(run(server, *words))


def test_the_start(moved: Server) -> None:
    """Its `.env` is read, and nobody without the key is served, but with the health."""
    assert "MAX_TIMEOUT=600000 is read as 600 seconds" in moved.output
    assert json.loads(shell(moved, "curl http://localhost:8000/health"))["status"] == "healthy"
    refused = json.loads(shell(moved, "curl http://localhost:8000/v1/models"))
    assert refused["error"]["code"] == "invalid_api_key"


def test_curl(moved: Server, api: StandIn) -> None:
    api.push("4")
    answer = json.loads(shell(moved, CURL))
    assert answer["object"] == "chat.completion" and answer["model"] == "claude-3-5-sonnet-20241022"
    assert answer["choices"][0]["message"] == {**answer["choices"][0]["message"], "content": "4"}
    assert api.last.last_user_text == "What is 2 + 2?" and api.last.tools == []


def test_curl_streamed(moved: Server, api: StandIn) -> None:
    api.push(Reply.of("print('Hello, world')", chunk_chars=4))
    *events, end = shell(moved, CURL_STREAMED).split("\n\n")[:-1]
    assert end == "data: [DONE]"
    deltas = [json.loads(event.removeprefix("data: "))["choices"][0]["delta"] for event in events]
    assert "".join(delta.get("content", "") for delta in deltas) == "print('Hello, world')"


def test_the_sdk(moved: Server, api: StandIn) -> None:
    """Fast by default: no tools. The system prompt reaches the model, and the counts are the API's."""
    api.push(Reply.of("I can't see.", output_tokens=7))
    said, cost, tokens = python(moved, BASIC, COSTS).splitlines()
    assert said == "I can't see." and api.last.tools == []
    assert api.last.system_texts[-1] == "You are a helpful assistant."
    used = api.last.usage
    prompt = used.input_tokens + used.cache_read_input_tokens + used.cache_creation_input_tokens
    assert tokens == f"Tokens: {prompt + 7} ({prompt} + 7)"
    assert cost == f"Cost: ${(prompt + 7) * 0.000003:.6f}"


def test_the_sdk_with_tools(moved: Server, api: StandIn) -> None:
    api.push(Reply.of(ToolUse("Bash", {"command": "ls"})), Reply.of("There is README.txt."))
    assert python(moved, WITH_TOOLS) == "There is README.txt.\n"
    assert len(api.turns) == 2 and b"README.txt" in api.last.raw
    assert sorted(api.last.tools) == ["Bash", "Edit", "Glob", "Grep", "Read", "Write"]


def test_the_sdk_streamed(moved: Server, api: StandIn) -> None:
    """Each chunk has a choice, where nobody asked for a last one with the usage."""
    api.push(Reply.of("Very small things.", chunk_chars=4))
    assert python(moved, STREAMED) == "Very small things."


def test_a_session(moved: Server, api: StandIn) -> None:
    api.push("Hello Alice.", "You are Alice.")
    python(moved, SESSION)
    assert [said for _, said in api.last.conversation] == [
        "Hello! My name is Alice and I'm learning Python.",
        "Hello Alice.",
        "What's my name and what am I learning?",
    ]


def test_a_session_with_curl(moved: Server, api: StandIn) -> None:
    """Then it is listed, looked at and deleted, as the wrapper's README does it."""
    api.push("Fine.", "Blue.")
    shell(moved, CURL_SESSION)
    assert [said for _, said in api.last.conversation][1:] == ["Fine.", "What is my favorite color?"]
    listed = get(moved, "/v1/sessions")
    assert listed["total"] == len(listed["sessions"])
    found = get(moved, "/v1/sessions/my-session")
    assert {"session_id", "created_at", "last_accessed", "message_count", "expires_at"} <= set(found)
    assert (found["session_id"], found["message_count"]) == ("my-session", 4)
    stats = get(moved, "/v1/sessions/stats")
    assert stats["session_stats"]["active_sessions"] == listed["total"]
    deleted = get(moved, "/v1/sessions/my-session", "-X", "DELETE")
    assert deleted == {"message": "Session my-session deleted successfully"}
    assert get(moved, "/v1/sessions")["total"] == listed["total"] - 1


def test_its_models(moved: Server, api: StandIn) -> None:
    """Each goes to the API under its own name, but for one that the CLI exchanges by itself; what answered is
    told beside the name that was sent."""
    for model in MODELS:
        body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
        given = ("-H", "Content-Type: application/json", "-d", json.dumps(body))
        answer = get(moved, "/v1/chat/completions", *given)
        assert (answer["model"], answer["x_claude"]["model"]) == (model, api.last.model)
        if model == EXCHANGED:
            assert api.last.model.startswith("claude-opus-") and api.last.model != model
        else:
            assert api.last.model == model
    listed = get(moved, "/v1/models")
    assert listed["object"] == "list" and listed["data"]


def test_the_login(moved: Server) -> None:
    found = get(moved, "/v1/auth/status")
    assert found["claude_code_auth"]["method"] == "anthropic"
    assert found["server_info"] == {
        **found["server_info"],
        **{"api_key_required": True, "api_key_source": "environment"},
    }
