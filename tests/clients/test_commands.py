"""Clients that are commands: llm, and aider editing a file."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import pytest

from claude_server.standin import Reply, StandIn
from tests.clients.environments import FOLDER
from tests.clients.program import environment
from tests.clients.scenes import (
    ANSWER,
    LISBON,
    PNG,
    WEATHER,
    blocks,
    check_weather,
    play_lisbon,
    play_weather,
)
from tests.proxy import Proxy
from tests.support import PATIENCE

EDIT = """greeting.py
```python
<<<<<<< SEARCH
    return "Hello"
=======
    return "Hello, world"
>>>>>>> REPLACE
```
"""


class Command:
    """A command of a group, run in a folder of its own."""

    def __init__(self, home: Path, proxy: Proxy) -> None:
        self.home = home
        self._environment = environment(home, proxy)

    def __call__(self, group: str, *words: str) -> str:
        """What it prints, ending well."""
        program, *arguments = words
        return self._run([str(FOLDER / group / "bin" / program), *arguments])

    def git(self, *arguments: str) -> str:
        return self._run(["git", *arguments])

    def _run(self, words: list[str]) -> str:
        ran = subprocess.run(
            words,
            cwd=self.home,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
        return ran.stdout


@pytest.fixture
def command(tmp_path: Path, proxy: Proxy) -> Command:
    return Command(tmp_path, proxy)


@pytest.fixture
def llm(command: Command, proxy: Proxy) -> Command:
    """llm, told of the server as its documentation says."""
    folder = Path(command("openai", "llm", "logs", "path").strip()).parent
    model = {
        "model_id": "claude",
        "model_name": "sonnet",
        "api_base": f"{proxy.url}/v1",
        "supports_tools": True,
        "supports_schema": True,
        "vision": True,
    }
    # JSON is YAML.
    (folder / "extra-openai-models.yaml").write_text(json.dumps([model]))
    return command


@pytest.mark.parametrize("option", ["--log", "--no-stream"])
def test_llm(llm: Command, api: StandIn, option: str) -> None:
    api.push("Ada.")
    said = llm("openai", "llm", "-m", "claude", option, "-s", "You are terse.", "Who am I?")
    assert said.strip() == "Ada."
    assert api.last.conversation == [("user", "Who am I?")]
    assert api.last.system_texts[-1] == "You are terse."


def test_llm_goes_on_with_a_conversation(llm: Command, api: StandIn) -> None:
    api.push("Hello Ada.", Reply.of("Ada.", output_tokens=3))
    llm("openai", "llm", "-m", "claude", "I am Ada.")
    assert llm("openai", "llm", "-c", "Who am I?").strip() == "Ada."
    assert api.last.conversation == [
        ("user", "I am Ada."),
        ("assistant", "Hello Ada."),
        ("user", "Who am I?"),
    ]
    logged = json.loads(llm("openai", "llm", "logs", "--json", "-n", "1"))
    assert logged[0]["output_tokens"] == 3


FUNCTION = '''
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"21 degrees in {city}"
'''


@pytest.mark.parametrize("option", ["--log", "--no-stream"])
def test_llm_with_a_tool(llm: Command, api: StandIn, option: str) -> None:
    play_weather(api)
    said = llm("openai", "llm", "-m", "claude", option, "--functions", FUNCTION, WEATHER)
    assert said.strip().endswith(ANSWER)
    check_weather(api)


def test_llm_with_a_schema(llm: Command, api: StandIn) -> None:
    play_lisbon(api)
    schema = {"type": "object", "properties": {"name": {}, "country": {}, "twins": {"type": "array"}}}
    said = llm("openai", "llm", "-m", "claude", "--schema", json.dumps(schema), "Tell me of Lisbon.")
    assert json.loads(said) == LISBON
    assert len(api.turns) == 1 and b'"twins"' in api.last.raw


def test_llm_with_a_picture(llm: Command, api: StandIn) -> None:
    (llm.home / "dot.png").write_bytes(base64.b64decode(PNG))
    api.push("A dot.")
    assert llm("openai", "llm", "-m", "claude", "-a", "dot.png", "What is it?").strip() == "A dot."
    (image,) = blocks(api.last, "image")
    assert image["source"] == {"type": "base64", "media_type": "image/png", "data": PNG}


def test_aider_edits_and_commits(command: Command, api: StandIn, proxy: Proxy) -> None:
    """One edit without questions; the words of the commit are asked for of the smaller model."""
    prices = command.home / ".aider" / "caches" / "model_prices_and_context_window.json"
    prices.parent.mkdir(parents=True)
    # Without a list of models it fetches one.
    prices.write_text(json.dumps({"openai/sonnet": {"max_input_tokens": 200_000, "mode": "chat"}}))
    file = command.home / "greeting.py"
    file.write_text('def greet():\n    return "Hello"\n')
    command.git("init", "--quiet")
    command.git("config", "user.name", "Ada")
    command.git("config", "user.email", "ada@example.com")
    command.git("add", "greeting.py")
    command.git("commit", "--quiet", "--message", "A greeting")
    api.push(EDIT, "feat: Greet the world")
    command(
        "aider",
        *("aider", "--model", "openai/sonnet", "--weak-model", "openai/haiku", "--edit-format", "diff"),
        *("--message", "Greet the world.", "--yes-always", "--no-check-update", "--analytics-disable"),
        *("--no-show-model-warnings", "--no-gitignore", "--no-show-release-notes", "greeting.py"),
    )
    assert file.read_text() == 'def greet():\n    return "Hello, world"\n'
    assert command.git("log", "-1", "--format=%s").strip() == "feat: Greet the world"
    edit, commit = api.turns
    assert "Greet the world." in edit.last_user_text and 'return "Hello"' in str(edit.conversation)
    assert "haiku" in commit.model
    assert proxy.chats[0]["stream"] is True
