"""Which models think within a budget of tokens, and when they can't. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from claude_server.core.model import (
    AttemptRequest,
    ModelInfo,
    Thought,
    ToolResult,
    listed_model,
    plain_model,
)

# Claude 4 to 4.5, whatever a provider puts around the name. Later ones adapt their thinking to the task.
_BUDGET_FAMILY = re.compile(r"claude-(?:opus|sonnet|haiku)-4(?:-[0-5])?(?:[-@]20\d{6})?(?!-?\d)")
# The API takes no smaller budget for thinking, and only one below the limit; older CLIs send some models one.
MIN_THINKING_TOKENS = 1024
# Where a budget is needed and none was asked for, and the CLI's own limit of an answer.
_USUAL_BUDGET = 10_000
_USUAL_LIMIT = 32_000


def has_thinking_budget(model: str | None, listed: Sequence[ModelInfo]) -> bool:
    """Does the CLI ask `model` to think within a budget? `listed`: the models that the CLI lists.

    None is the account's default. Of a name that isn't listed its family decides.
    """
    known = listed_model(model, listed)
    if known is not None:
        return not known.adaptive_thinking
    name = plain_model(model or "default")
    # The one alias that older CLIs have stand for such a model.
    return name == "haiku" or _BUDGET_FAMILY.search(name) is not None


def with_no_thoughts(request: AttemptRequest) -> AttemptRequest:
    """The request for a CLI that drops thoughts. What a session holds is the CLI's own."""
    return replace(request, history=tuple(message.without_thoughts for message in request.history))


def thinking_form(asked: str, limit: int | None, *, budget: bool) -> dict[str, Any]:
    """The API's `thinking` for a form that a client asks for, JSON text. `budget`: does the model think
    within one? Others refuse it, and think as much as the task needs. `limit`: tokens of an answer."""
    form: dict[str, Any] = json.loads(asked)
    if not budget:
        form.pop("budget_tokens", None)
        return {**form, "type": "adaptive"}
    tokens = form.get("budget_tokens")
    if form["type"] != "enabled" or not isinstance(tokens, int):
        tokens = _USUAL_BUDGET
    most = (limit or _USUAL_LIMIT) - 1
    return {**form, "type": "enabled", "budget_tokens": max(MIN_THINKING_TOKENS, min(tokens, most))}


def calls_lack_thinking(request: AttemptRequest) -> bool:
    """Does the question answer calls before which no thoughts stand?

    The API takes no thinking with a budget then: the answer goes on one that began without.
    """
    if not any(isinstance(block, ToolResult) for block in request.turn.question.blocks):
        return False
    if request.session is not None and request.session.how == "resume":
        return not request.session.thoughtful
    return not (request.history and isinstance(request.history[-1].blocks[0], Thought))
