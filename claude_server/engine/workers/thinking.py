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
    name = _plain(model or "default")
    known = next((m for m in listed if name in (_plain(m.id), _plain(m.resolves_to or ""))), None)
    if known is not None:
        return not known.adaptive_thinking
    # The one alias that older CLIs have stand for such a model.
    return name == "haiku" or _BUDGET_FAMILY.search(name) is not None


def calls_lack_thinking(question: Message) -> bool:
    """Does this message answer calls? Then no thinking stands before them, as nobody sends it back.

    The API takes no thinking with a budget then: the answer goes on one that began without.
    """
    return any(isinstance(block, ToolResult) for block in question.blocks)


def _plain(name: str) -> str:
    return name.removesuffix(_LONG_CONTEXT)
