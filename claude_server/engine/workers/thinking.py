"""Which models think within a budget of tokens, and when they can't. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from claude_server.core.model import Message, ModelInfo, RedactedThinking, Thinking, ToolResult

# Claude 4 to 4.5, whatever a provider puts around the name. Later ones adapt their thinking to the task.
_BUDGET_FAMILY = re.compile(r"claude-(?:opus|sonnet|haiku)-4(?:-[0-5])?(?:[-@]20\d{6})?(?!-?\d)")
# The API takes no smaller budget for thinking, and only one below the limit; older CLIs send some models one.
MIN_THINKING_TOKENS = 1024
# Where a budget is needed and none was asked for, and the CLI's own limit of an answer.
_USUAL_BUDGET = 10_000
_USUAL_LIMIT = 32_000
_LONG_CONTEXT = "[1m]"


def has_thinking_budget(model: str | None, listed: Sequence[ModelInfo]) -> bool:
    """Does the CLI ask `model` to think within a budget? `listed`: the models that the CLI lists.

    None is the account's default. Of a name that isn't listed its family decides.
    """
    known = _listed(model, listed)
    if known is not None:
        return not known.adaptive_thinking
    name = _plain(model or "default")
    # The one alias that older CLIs have stand for such a model.
    return name == "haiku" or _BUDGET_FAMILY.search(name) is not None


def resolved_model(model: str | None, listed: Sequence[ModelInfo]) -> str:
    """The id that the CLI makes of a model's name; one that it doesn't list is an id. "": not known."""
    known = _listed(model, listed)
    return _plain((known.resolves_to if known is not None else model) or "")


def _listed(model: str | None, listed: Sequence[ModelInfo]) -> ModelInfo | None:
    name = _plain(model or "default")
    return next((m for m in listed if name in (_plain(m.id), _plain(m.resolves_to or ""))), None)


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


def calls_lack_thinking(history: Sequence[Message], question: Message) -> bool:
    """Does this message answer calls before which no thinking stands? Most clients don't send it back.

    The API takes no thinking with a budget then: the answer goes on one that began without.
    """
    if not any(isinstance(block, ToolResult) for block in question.blocks):
        return False
    called = history[-1].blocks if history else ()
    return not any(isinstance(block, Thinking | RedactedThinking) for block in called)


def _plain(name: str) -> str:
    return name.removesuffix(_LONG_CONTEXT)
