"""Which models think within a budget, and when that can't be."""

from __future__ import annotations

import json

import pytest

from claude_server.core.model import (
    AttemptRequest,
    Message,
    ModelInfo,
    SessionPlan,
    Thinking,
    ToolResult,
    ToolUse,
    TurnRequest,
    resolved_model,
)
from claude_server.engine.workers.attempt_spec import attempt_spec
from claude_server.engine.workers.thinking import has_thinking_budget, thinking_form

# As CLI 2.1.197 lists them.
LISTED = (
    ModelInfo("default", "Default", "claude-opus-4-8[1m]", True),
    ModelInfo("opus[1m]", "Opus", "claude-opus-4-8[1m]", True),
    ModelInfo("sonnet", "Sonnet", "claude-sonnet-5", True),
    ModelInfo("haiku", "Haiku", "claude-haiku-4-5-20251001"),
)
RESULT = ToolResult("c", ("cold",))


@pytest.mark.parametrize(
    "model",
    [
        *("claude-sonnet-4-5", "claude-sonnet-4-5-20250929", "claude-haiku-4-5", "claude-opus-4-5-20251101"),
        *(
            "claude-sonnet-4-5[1m]",
            "claude-opus-4-1-20250805",
            "claude-sonnet-4-0",
            "claude-sonnet-4-20250514",
        ),
        *("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-opus-4-5@20251101"),
        *("claude-opus-4", "claude-sonnet-4-20250514"),
        "haiku",
    ],
)
def test_models_with_a_budget(model: str) -> None:
    assert has_thinking_budget(model, LISTED)
    assert has_thinking_budget(model, ())


@pytest.mark.parametrize(
    "model",
    [
        *("sonnet", "opus", "opus[1m]", "best", "claude-sonnet-5", "claude-opus-4-8", "claude-opus-4-10"),
        *("claude-sonnet-4-6", "claude-opus-4-6-20260101", "claude-sonnet-5-5", "claude-haiku-5-5", None),
        *("eu.anthropic.claude-opus-4-6-v1", "a-gateway's-model"),
    ],
)
def test_other_models(model: str | None) -> None:
    assert not has_thinking_budget(model, LISTED)


def test_what_the_cli_lists_counts_more_than_a_name() -> None:
    listed = (ModelInfo("haiku", "Haiku", "claude-haiku-5-5", True), ModelInfo("new", "New", "claude-new-1"))
    assert not has_thinking_budget("haiku", listed)
    assert has_thinking_budget("new", listed) and has_thinking_budget("claude-new-1", listed)
    assert has_thinking_budget(None, (ModelInfo("default", "Default", "claude-haiku-4-5"),))


@pytest.mark.parametrize(
    ("model", "resolved"),
    [
        ("sonnet", "claude-sonnet-5"),
        ("claude-sonnet-5", "claude-sonnet-5"),
        ("opus[1m]", "claude-opus-4-8"),
        ("opus", "claude-opus-4-8"),
        (None, "claude-opus-4-8"),
        ("claude-sonnet-4-5", "claude-sonnet-4-5"),
    ],
)
def test_what_a_models_name_stands_for(model: str | None, resolved: str) -> None:
    assert resolved_model(model, LISTED) == resolved


def test_the_default_of_a_cli_that_lists_no_models_is_not_known() -> None:
    assert resolved_model(None, ()) == ""


@pytest.mark.parametrize(
    ("blocks", "model", "thinks"),
    [
        (("hi",), "haiku", True),
        ((RESULT,), "haiku", False),
        ((RESULT, "and now?"), "haiku", False),
        ((RESULT,), "sonnet", True),
    ],
)
def test_results_of_calls(blocks: tuple[str | ToolResult, ...], model: str, thinks: bool) -> None:
    turn = TurnRequest(id="t", question=Message("user", blocks), model=model)
    history = (Message("user", ("q",)), Message("assistant", (ToolUse("c", "f", {}),)))
    for earlier in (history, ()):
        assert attempt_spec(AttemptRequest(turn, "", earlier), LISTED).config.thinking is thinks


def test_results_of_calls_whose_thinking_came_back() -> None:
    turn = TurnRequest(id="t", question=Message("user", (RESULT,)), model="haiku")
    called = Message("assistant", (Thinking("hm", "sig"), ToolUse("c", "f", {})))
    request = AttemptRequest(turn, "", (Message("user", ("q",)), called))
    assert attempt_spec(request, LISTED).config.thinking
    # The API looks at the first block.
    late = Message("assistant", ("So.", *called.blocks))
    request = AttemptRequest(turn, "", (Message("user", ("q",)), late))
    assert not attempt_spec(request, LISTED).config.thinking


def test_a_cli_that_drops_thoughts_gets_none() -> None:
    turn = TurnRequest(id="t", question=Message("user", (RESULT,)), model="haiku")
    called = Message("assistant", (Thinking("hm", "sig"), ToolUse("c", "f", {})))
    spec = attempt_spec(AttemptRequest(turn, "", (called,)), LISTED, takes_thoughts=False)
    assert spec.request.history == (Message("assistant", (ToolUse("c", "f", {}),)),)
    assert not spec.config.thinking


@pytest.mark.parametrize("thoughtful", [True, False])
@pytest.mark.parametrize("takes_thoughts", [True, False])
def test_results_in_a_session(thoughtful: bool, takes_thoughts: bool) -> None:
    """It is the CLI that holds what was thought in it."""
    turn = TurnRequest(id="t", question=Message("user", (RESULT,)), model="haiku")
    plan = SessionPlan("u", "resume", thoughtful=thoughtful)
    spec = attempt_spec(AttemptRequest(turn, "", (), plan), LISTED, takes_thoughts=takes_thoughts)
    assert spec.config.thinking is thoughtful


@pytest.mark.parametrize(
    ("asked", "limit", "budget", "form"),
    [
        ({"type": "enabled", "budget_tokens": 2000}, 4000, True, {"type": "enabled", "budget_tokens": 2000}),
        ({"type": "enabled", "budget_tokens": 9000}, 4000, True, {"type": "enabled", "budget_tokens": 3999}),
        ({"type": "enabled", "budget_tokens": 2000}, 4000, False, {"type": "adaptive"}),
        (
            {"type": "adaptive", "display": "omitted"},
            None,
            True,
            {"type": "enabled", "display": "omitted", "budget_tokens": 10_000},
        ),
        ({"type": "adaptive", "display": "omitted"}, 9, False, {"type": "adaptive", "display": "omitted"}),
    ],
)
def test_the_form_of_thinking_is_one_that_the_model_takes(
    asked: dict[str, object], limit: int | None, budget: bool, form: dict[str, object]
) -> None:
    assert thinking_form(json.dumps(asked), limit, budget=budget) == form


def test_a_form_of_thinking_is_for_a_turn_that_thinks() -> None:
    asked = json.dumps({"type": "enabled", "budget_tokens": 2000})
    turn = TurnRequest("t", Message("user", ("q",)), model="haiku", thinking_form=asked)
    body = attempt_spec(AttemptRequest(turn, "", ()), LISTED).config.body
    assert json.loads(body) == {"thinking": json.loads(asked)}
    quick = TurnRequest("t", turn.question, model="haiku", thinking_form=asked, top_k=5)
    spec = attempt_spec(AttemptRequest(quick, "", ()), LISTED)
    assert json.loads(spec.config.body) == {"top_k": 5} and not spec.config.thinking
