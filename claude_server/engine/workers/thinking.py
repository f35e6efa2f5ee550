"""Which models think within a budget of tokens, and when they can't. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from claude_server.core.model import Message, ModelInfo, ToolResult

# Claude 4 to 4.5, whatever a provider puts around the name. Later ones adapt their thinking to the task.
_BUDGET_FAMILY = re.compile(r"claude-(?:opus|sonnet|haiku)-4(?:-[0-5])?(?:[-@]20\d{6})?(?!-?\d)")
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


def calls_lack_thinking(question: Message) -> bool:
    """Does this message answer calls? Then no thinking stands before them, as nobody sends it back.

    The API takes no thinking with a budget then: the answer goes on one that began without.
    """
    return any(isinstance(block, ToolResult) for block in question.blocks)


def _plain(name: str) -> str:
    return name.removesuffix(_LONG_CONTEXT)
