"""The older completions through the real CLI, by the openai SDK."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai import OpenAI

from claude_server.standin import ApiRequest, Reply, StandIn
from tests.support import Server


@pytest.fixture
def client(server: Server) -> OpenAI:
    return server.client()


def upper(request: ApiRequest) -> Reply:
    return Reply.of(request.last_user_text.upper(), chunk_chars=3)


def test_prompts_and_choices(client: OpenAI, api: StandIn) -> None:
    """A choice for each prompt and each of `n`, in the order of the prompts; whole and streamed."""
    api.responder = upper
    asked: dict[str, Any] = {
        **{"model": "sonnet", "prompt": ["one ", "two "], "n": 2, "max_tokens": 50, "echo": True},
        **{"best_of": 2, "stop": "END"},
    }
    made = client.completions.create(**asked)
    texts = ["one ONE ", "one ONE ", "two TWO ", "two TWO "]
    assert [(choice.index, choice.text) for choice in made.choices] == [*enumerate(texts)]
    assert {choice.finish_reason for choice in made.choices} == {"stop"}
    assert made.usage is not None and made.usage.total_tokens > 0
    assert all(turn.body["max_tokens"] == 50 and turn.body["stop_sequences"] == ["END"] for turn in api.turns)
    streamed = [""] * 4
    chunks = [*client.completions.create(**asked, stream=True, stream_options={"include_usage": True})]
    for chunk in chunks[:-1]:
        assert chunk.usage is None
        streamed[chunk.choices[0].index] += chunk.choices[0].text
    assert streamed == texts and chunks[-1].usage is not None and not chunks[-1].choices


@pytest.mark.parametrize("stream", [False, True])
def test_the_middle(client: OpenAI, api: StandIn, stream: bool) -> None:
    """Between prompt and suffix, or between the marks in a prompt; without a fence around it."""
    fenced = Reply.of("```python\n    return 1\n    # ``` in it\n```", chunk_chars=2)
    plain = Reply.of("return 1", chunk_chars=2)
    marked = "<|fim_prefix|>def a():\n<|fim_suffix|>\nb()<|fim_middle|>"
    for reply, prompt, suffix, expected in (
        (fenced, "def a():\n", "\nb()", "    return 1\n    # ``` in it"),
        (plain, marked, None, "return 1"),
    ):
        api.push(reply)
        made: Any = client.completions.create(model="sonnet", prompt=prompt, suffix=suffix, stream=stream)
        pieces = [made] if not stream else [*made]
        assert "".join(piece.choices[0].text for piece in pieces) == expected
        assert api.last.last_user_text == "<before>def a():\n</before>\n<after>\nb()</after>"


def test_refusals(client: OpenAI, api: StandIn) -> None:
    wrong: tuple[dict[str, Any], ...] = (
        {"prompt": [1, 2]},
        {"prompt": [[1], [2]]},
        {"prompt": "x", "logprobs": 0},
        {"prompt": "x", "best_of": 3},
        {"prompt": ["x"] * 33},
        {"prompt": []},
    )
    for asked in wrong:
        with pytest.raises(openai.BadRequestError) as raised:
            client.completions.create(model="sonnet", **asked)
        assert raised.value.param == next((name for name in asked if name != "prompt"), "prompt")
    assert api.turns == []
    api.push(Reply.of("one two three", max_tokens=1, chunk_chars=4))
    assert client.completions.create(model="sonnet", prompt=" ").choices[0].finish_reason == "length"
