"""What becomes of parameters that aren't fields of ours."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsBase,
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)

from claude_server.core.errors import UnsupportedParameter
from claude_server.dialects.chat.parameters import RULES
from claude_server.dialects.chat.wire import ChatRequest
from claude_server.dialects.rules import ignored_parameters

# name, values that ask for nothing, values that do
IGNORED: list[tuple[str, list[Any], list[Any]]] = [
    ("temperature", [1, 1.0], [0, 0.7, 2]),
    ("top_p", [1, 1.0], [0.5]),
    ("presence_penalty", [0, 0.0], [0.5, -2]),
    ("frequency_penalty", [0, 0.0], [0.5, -2]),
    ("logit_bias", [{}], [{"50256": -100}]),
    ("seed", [], [0, 42]),
    ("prediction", [], [{"type": "content", "content": "x"}]),
    ("store", [False], [True]),
    ("prompt_cache_options", [], [{}]),
    ("moderation", [], [{}]),
    ("audio", [{"voice": "alloy"}, {}], []),
]
REFUSED: list[tuple[str, list[Any], list[Any]]] = [
    ("logprobs", [False], [True, 0]),
    ("top_logprobs", [0], [1, 20]),
    ("modalities", [["text"]], [["audio"], ["text", "audio"], [], "text"]),
    ("web_search_options", [], [{}]),
]
# Honoured: which values, and which are ignored all the same.
PARTLY: list[tuple[str, list[Any], list[Any]]] = [
    ("service_tier", ["auto", "default", "priority", "standard_only"], ["flex", "scale", ""]),
    (
        "thinking",
        [{"type": "disabled"}, {"type": "disabled", "display": "omitted"}],
        [{"type": "enabled", "budget_tokens": 5000}, {"type": "adaptive"}, {}, "disabled", True, False],
    ),
    ("prompt_cache_retention", ["24h", "in_memory", "in-memory"], ["1h", ""]),
]
# Fields that nobody here knows.
PASSED_OVER: dict[str, Any] = {"colour": "red", "top_k": 5}


def cases(table: list[tuple[str, list[Any], list[Any]]], column: int) -> list[tuple[str, Any]]:
    return [(row[0], value) for row in table for value in row[column]]


def test_the_tables_have_every_parameter() -> None:
    rows = {row[0]: "ignore" for row in IGNORED} | {row[0]: "refuse" for row in REFUSED}
    assert rows == {name: rule.answer for name, rule in RULES.items() if rule.answer != "honour"}


def test_what_is_honoured_is_read() -> None:
    """Nothing is said to be honoured that the request has no place for, and the other way round."""
    honoured = {name for name, rule in RULES.items() if rule.answer == "honour"}
    fields = {field.alias or name for name, field in ChatRequest.model_fields.items()}
    # Both are forwarded for some models, and then not judged.
    assert honoured | {"temperature", "top_p"} == fields


def test_the_rules_have_every_parameter_of_the_sdk() -> None:
    known = {
        *CompletionCreateParamsNonStreaming.__annotations__,
        *CompletionCreateParamsStreaming.__annotations__,
        *CompletionCreateParamsBase.__annotations__,
    }
    assert known and known - set(RULES) == set()


@pytest.mark.parametrize(
    "name",
    [n for n, rule in RULES.items() if rule.answer == "honour" and n not in {row[0] for row in PARTLY}],
)
def test_what_is_honoured_is_not_judged(name: str) -> None:
    assert ignored_parameters(RULES, {name: object()}, strict=True) == ()
    assert RULES[name].why


@pytest.mark.parametrize(("name", "value"), cases(IGNORED + PARTLY, 2))
def test_what_is_ignored_is_refused_strictly(name: str, value: Any) -> None:
    with pytest.raises(UnsupportedParameter) as raised:
        ignored_parameters(RULES, {name: value}, strict=True)
    assert raised.value.param == name
    expected = f"'{name}' has no effect here: {RULES[name].why}. CLAUDE_STRICT refuses it."
    assert raised.value.message == expected


@pytest.mark.parametrize(("name", "value"), cases(IGNORED + PARTLY, 2))
def test_what_is_ignored_is_said(name: str, value: Any) -> None:
    assert ignored_parameters(RULES, {name: value}) == (name,)


@pytest.mark.parametrize(("name", "value"), cases(REFUSED, 2))
def test_what_changes_the_answers_shape_is_refused(name: str, value: Any) -> None:
    with pytest.raises(UnsupportedParameter) as raised:
        ignored_parameters(RULES, {name: value})
    assert raised.value.param == name
    assert raised.value.message == f"'{name}' can't be honoured: {RULES[name].why}."
    assert RULES[name].why


@pytest.mark.parametrize(("name", "value"), cases(IGNORED + PARTLY + REFUSED, 1))
@pytest.mark.parametrize("strict", [False, True])
def test_what_asks_for_nothing_is_fine(name: str, value: Any, strict: bool) -> None:
    assert ignored_parameters(RULES, {name: value}, strict=strict) == ()


@pytest.mark.parametrize("name", [*RULES, *PASSED_OVER])
def test_null_is_absent(name: str) -> None:
    assert ignored_parameters(RULES, {name: None}) == ()


def test_other_fields_are_passed_over() -> None:
    assert ignored_parameters(RULES, PASSED_OVER) == ignored_parameters(RULES, PASSED_OVER, strict=True) == ()


def test_all_that_is_ignored_is_said_in_order() -> None:
    extra = {"seed": 1, "user": "u", "temperature": 0, "top_p": 1, "store": True}
    assert ignored_parameters(RULES, extra) == ("seed", "temperature", "store")


def test_a_refusal_wins() -> None:
    with pytest.raises(UnsupportedParameter, match="'logprobs'"):
        ignored_parameters(RULES, {"temperature": 0, "logprobs": True})
