"""Chat requests to turns."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from claude_server.core.answer_format import AnswerFormat
from claude_server.core.errors import UnsupportedParameter
from claude_server.dialects.base import Policy
from claude_server.dialects.chat.request import to_turn
from claude_server.dialects.model_names import PLACEHOLDERS
from tests.dialects.chat.asking import around, asked, refusal, turn

# Parameters


@pytest.mark.parametrize(
    ("asked_for", "effort", "thinking"),
    [
        (None, None, True),
        ("none", None, False),
        ("minimal", "low", True),
        ("low", "low", True),
        ("medium", "medium", True),
        ("high", "high", True),
        ("xhigh", "xhigh", True),
        ("max", "max", True),
    ],
)
def test_the_reasoning_effort(asked_for: str | None, effort: str | None, thinking: bool) -> None:
    made = turn(reasoning_effort=asked_for)
    assert (made.effort, made.thinking) == (effort, thinking)
    # It is honoured: there is nothing to say about it.
    assert made.notices == ()


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, None),
        ({"max_tokens": None, "max_completion_tokens": None}, None),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 6}, 6),
        # The newer name wins.
        ({"max_tokens": 5, "max_completion_tokens": 6}, 6),
        ({"max_tokens": 6, "max_completion_tokens": 5}, 5),
    ],
)
def test_the_output_limit(limits: dict[str, int | None], expected: int | None) -> None:
    made = turn(**limits)
    assert (made.max_output_tokens, made.notices) == (expected, ())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("max_tokens", value) for value in (0, -1, 1.5, "5", True)),
        *(("max_completion_tokens", value) for value in (0, -1, 1.5, "5", True)),
        *(("reasoning_effort", value) for value in ("", "hard", "LOW", 1, ["low"])),
    ],
)
def test_a_limit_or_an_effort_of_another_shape(name: str, value: object) -> None:
    with pytest.raises(ValidationError, match=name):
        asked(**{name: value})


# The rest of the request


@pytest.mark.parametrize("model", [None, *sorted(PLACEHOLDERS), " auto "])
def test_names_that_leave_the_model_to_us(model: str | None) -> None:
    assert turn(model=model).model == "dm"
    assert to_turn(asked(model=model), around(Policy()))[0].model is None


@pytest.mark.parametrize(
    ("given", "model"), [("opus", "opus"), (" sonnet[1m] ", "sonnet[1m]"), ("AUTO", "AUTO")]
)
def test_names_of_models(given: str, model: str) -> None:
    assert turn(model=given).model == model


@pytest.mark.parametrize(
    ("stream", "own", "setting", "buffered"),
    [
        (None, None, "live", True),
        (False, "live", "live", True),
        (True, None, "live", False),
        (True, None, "buffered", True),
        (True, "buffered", "live", True),
        (True, "live", "buffered", False),
    ],
)
def test_what_is_buffered(stream: bool | None, own: str | None, setting: str, buffered: bool) -> None:
    made, _ = to_turn(asked(stream=stream, stream_mode=own), around(Policy(stream_mode=setting)))
    assert made.buffered is buffered


@pytest.mark.parametrize("shown", [True, False])
def test_whether_thinking_is_shown(shown: bool) -> None:
    made, _ = to_turn(asked(), around(Policy(reasoning_field="reasoning" if shown else None)))
    assert made.shows_thinking is shown


@pytest.mark.parametrize("n", [None, 1, 2, 8])
def test_several_answers_are_so_many_turns(n: int | None) -> None:
    assert turn(n=n) == turn()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"n": 9}, "'n' above 8 is not supported."),
        ({"n": 2, "session_id": "s"}, "A session has one answer to a message: 'n' must be 1."),
    ],
)
def test_too_many_answers(fields: dict[str, Any], says: str) -> None:
    error = refusal(**fields)
    assert (type(error), error.param, error.message) == (UnsupportedParameter, "n", says)


def test_a_session() -> None:
    assert turn(session_id="s", n=1).session_id == "s"
    assert turn(session_id=None).session_id is None


@pytest.mark.parametrize(
    ("given", "stops"),
    [
        (None, ()),
        ("", ()),
        ("END", ("END",)),
        ([], ()),
        (["a", "", "\n", "b"], ("a", "\n", "b")),
        (["a", "b", "c", "d"], ("a", "b", "c", "d")),
    ],
)
def test_stops(given: Any, stops: tuple[str, ...]) -> None:
    made = turn(stop=given)
    assert (made.stop, made.notices) == (stops, ())


@pytest.mark.parametrize(
    ("verbosity", "system"),
    [(None, "S"), ("medium", "S"), ("low", "S\n\nAnswer briefly."), ("high", "S\n\nAnswer in detail.")],
)
def test_verbosity_is_a_line_of_the_system_prompt(verbosity: str | None, system: str) -> None:
    messages = ({"role": "system", "content": "S"}, {"role": "user", "content": "hi"})
    assert turn(*messages, verbosity=verbosity).system == system
    assert turn(verbosity=verbosity).system == system.removeprefix("S").strip()


def test_a_json_object_is_asked_for_in_the_question() -> None:
    plain, made = turn(), turn(response_format={"type": "json_object"})
    assert made.answer == AnswerFormat() and plain.answer is None
    *blocks, line = made.question.blocks
    assert tuple(blocks) == plain.question.blocks and "one JSON object" in str(line)
    # A schema is asked for by a tool.
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    assert turn(response_format=schema).question == plain.question


# Sampling

SAMPLES = Policy(default_model="claude-old-1", sampling_models=("claude-old-*", "haiku"))


@pytest.mark.parametrize(
    ("fields", "forwarded", "ignored"),
    [
        ({}, (None, None), ()),
        ({"temperature": 1, "top_p": 1}, (None, None), ()),
        ({"temperature": 0, "top_p": 0.5}, (0, 0.5), ()),
        # OpenAI's goes up to 2, Claude's up to 1.
        ({"temperature": 1.7}, (1, None), ()),
        ({"model": "haiku", "temperature": 0.5}, (0.5, None), ()),
        ({"model": "opus", "temperature": 0.5, "top_p": 0.9}, (None, None), ("temperature", "top_p")),
        ({"model": "haiku-2", "top_p": 0}, (None, None), ("top_p",)),
        ({"model": "opus", "temperature": 1, "top_p": None}, (None, None), ()),
    ],
)
def test_sampling(fields: dict[str, Any], forwarded: tuple[Any, Any], ignored: tuple[str, ...]) -> None:
    made, said = to_turn(asked(**fields), around(SAMPLES))
    assert ((made.temperature, made.top_p), said) == (forwarded, ignored)


def test_sampling_for_the_accounts_default_model() -> None:
    made, _ = to_turn(asked(temperature=0), around(Policy(sampling_models=("default",))))
    assert (made.model, made.temperature) == (None, 0)


# What is judged


def test_other_parameters_are_judged() -> None:
    _, ignored = to_turn(asked(seed=1, temperature=0.5, top_p=1, user="u"), around(Policy()))
    assert ignored == ("seed", "temperature")
    assert refusal(logprobs=True).param == "logprobs"


@pytest.mark.parametrize(("fields", "param"), [({"seed": 1}, "seed"), ({"temperature": 0}, "temperature")])
def test_strict(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedParameter, match="CLAUDE_STRICT") as raised:
        to_turn(asked(**fields), around(Policy(strict=True)))
    assert raised.value.param == param
    sampled, ignored = to_turn(asked(temperature=0), around(Policy(strict=True, sampling_models=("*",))))
    assert (sampled.temperature, ignored) == (0, ())


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": []},
        {"model": 5},
        {"stream": "yes"},
        {"stream": 1},
        {"stream_options": {"include_usage": 1}},
        {"n": 0},
        {"n": 1.5},
        {"n": True},
        {"stop": ["a"] * 5},
        {"stop": [1]},
        {"temperature": 2.1},
        {"temperature": "hot"},
        {"top_p": -0.1},
        {"verbosity": "loud"},
        {"tools": [{"type": "custom", "custom": {"name": "x"}}]},
        {"tools": [{"type": "function"}]},
        {"tool_choice": "any"},
        {"tool_choice": {"type": "function"}},
        {"function_call": "required"},
        {"functions": [{}]},
        {"parallel_tool_calls": "no"},
        {"response_format": {"type": "xml"}},
        {"response_format": "json"},
        {"session_id": ""},
        {"session_id": "x" * 257},
        {"session_id": 5},
        {"stream_mode": "fast"},
        {"metadata": []},
    ],
)
def test_fields_of_the_wrong_kind(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as raised:
        asked(**fields)
    assert {error["loc"][0] for error in raised.value.errors()} == set(fields)


@pytest.mark.parametrize("length", [1, 256])
def test_session_names_of_any_sane_length(length: int) -> None:
    assert turn(session_id="é" * length).session_id == "é" * length
