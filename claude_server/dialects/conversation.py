"""A conversation as the API wants it, made of what clients send piece by piece. Pure."""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from claude_server.core import strict_json
from claude_server.core.calls import orphan
from claude_server.core.errors import InvalidRequest
from claude_server.core.model import (
    NO_RESULT,
    ApiBlock,
    Block,
    Document,
    Image,
    Message,
    Role,
    Thought,
    ToolResult,
    ToolUse,
)

# A system message that comes later: the API has none inside a conversation.
_LATER_SYSTEM = "<system-message>\n{text}\n</system-message>"
SYSTEM_IN_PLACE = "system messages after the first others keep their place, as marked text of the user's"
_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9_-]")
CONTINUE = "Please continue."
# Also right in a session, which may hold more than the request shows.
BEGIN = "Please go ahead."
# The API requires a user message first; some clients begin with the assistant's greeting.
_FIRST_USER_MESSAGE = "(The conversation begins with the assistant's message.)"
Content = str | Image | Document | ApiBlock
# Messages and what they are made of. The CLI takes some milliseconds for each message.
MAX_LENGTH = 20_000


def check_total(length: int, of: str, param: str) -> None:
    """Refuse a conversation of more pieces than the CLI can be told in time. Raises InvalidRequest."""
    if length > MAX_LENGTH:
        raise InvalidRequest(
            f"'{param}' has {length} {of}; {MAX_LENGTH} are possible. Put the text of several into one.",
            param=param,
        )


@dataclass(frozen=True, slots=True)
class Call:
    """A call that the model made, as a client tells it: `arguments` is JSON text, as the model wrote it."""

    id: str
    name: str
    arguments: str


class Conversation:
    """Merges neighbours of one role, as the API wants it, and sees to it that each call has its result right
    after it. `session`: calls that aren't here may be in the session."""

    def __init__(self, session: bool = False) -> None:
        self._session = session
        self._messages: list[tuple[Role, list[Block]]] = []
        # The ids that the API gets for the calls that have no result yet, in order, ...
        self._open: dict[str, None] = {}
        # ... and those of the last calls by what a result may name: the client's id, or the function.
        self._named: defaultdict[str, deque[str]] = defaultdict(deque)
        # Notes that came between calls and their results: those must follow at once.
        self._held: list[str] = []
        self._thoughts: list[Thought] = []
        self._ids: set[str] = set()
        self._repeats: Counter[str] = Counter()

    def user(self, blocks: Sequence[Block]) -> None:
        """What the user says."""
        self._add("user", blocks)

    def note(self, text: str) -> None:
        """A system message in the middle."""
        self.aside(_LATER_SYSTEM.format(text=text))

    def aside(self, text: str) -> None:
        """Text of the user's in the middle; one between calls and their results comes after these."""
        if self._open and self._messages[-1][0] == "assistant":
            self._held.append(text)
        else:
            self._add("user", [text])

    def thought(self, thought: Thought) -> None:
        """What was thought before the next part of an answer; without one it is left out."""
        self._thoughts.append(thought)

    def assistant(self, texts: Sequence[str | ApiBlock], calls: Sequence[Call] = ()) -> None:
        """An answer, or a part of one."""
        if not texts and not calls:
            return
        thoughts, self._thoughts = self._thoughts, []
        if self._messages and self._messages[-1][0] == "user":
            # Not between the parts of one answer: some clients send each call by itself, all results after.
            self._close()
        uses = []
        for call in calls:
            ours = self._fresh_id(call.id)
            self._open[ours] = None
            for name in {call.id, call.name}:
                self._named[name].append(ours)
            uses.append(ToolUse(ours, call.name, _arguments(call.arguments)))
        self._add("assistant", [*thoughts, *texts, *uses])

    def result(self, name: str, blocks: tuple[Content, ...], *, failed: bool = False) -> None:
        """A result, by the call's id, or by the function's name. `failed`: the call did."""
        waiting = self._named[name]
        while waiting:
            ours = waiting.popleft()
            if ours in self._open:
                del self._open[ours]
                self._add("user", [ToolResult(ours, blocks, failed)])
                return
        if self._session:
            self._add("user", [ToolResult(_allowed(name), blocks, failed)])
            return
        self._add("user", orphan(name, blocks))

    def messages(self) -> list[Message]:
        """The whole conversation; nothing may be added after that."""
        self._close()
        # The API wants the results before what else a message holds.
        return [
            Message(role, tuple(sorted(blocks, key=lambda block: not isinstance(block, ToolResult))))
            for role, blocks in self._messages
        ]

    def _add(self, role: Role, blocks: Sequence[Block]) -> None:
        if not blocks:
            return
        if role == "user":
            self._thoughts.clear()
        if self._messages and self._messages[-1][0] == role:
            self._messages[-1][1].extend(blocks)
        else:
            self._messages.append((role, list(blocks)))
        if role == "user" and self._held:
            self._messages[-1][1].extend(self._held)
            self._held.clear()

    def _close(self) -> None:
        """Before the next answer, or at the end: what still has no result gets one that says so."""
        self._add("user", [ToolResult(ours, (NO_RESULT,)) for ours in self._open])
        self._open.clear()
        self._named.clear()

    def _fresh_id(self, wanted: str) -> str:
        """An id as the API takes it; some clients begin anew with each answer."""
        base = _allowed(wanted)
        ours = base
        while ours in self._ids:
            self._repeats[base] += 1
            ours = f"{base}_{self._repeats[base] + 1}"
        self._ids.add(ours)
        return ours


def _allowed(id: str) -> str:
    return _NOT_IN_AN_ID.sub("_", id)[:64] or "call"


def _arguments(text: str) -> dict[str, Any]:
    """What a model once wrote as arguments: nearly always an object."""
    try:
        value = strict_json.loads(text or "{}")
    except strict_json.NotStrictJson:
        value = text
    return value if isinstance(value, dict) else {"arguments": value}


def is_blank(block: Block) -> bool:
    """Is it a text that nobody sees?"""
    # For the CLI a byte order mark is white space too: it would put "(no content)" there, or drop an answer.
    return isinstance(block, str) and not block.replace("\ufeff", "").strip()


def pad(conversation: list[Message]) -> list[str]:
    """Make the conversation begin and end with a user message, as the API requires; returns notices."""
    notices = []
    if not conversation:
        conversation.append(Message("user", (BEGIN,)))
        notices.append(f"the messages hold nothing of the user's: '{BEGIN}' was asked")
    if conversation[-1].role == "assistant":
        conversation.append(Message("user", (CONTINUE,)))
        notices.append(f"the messages end with the assistant's: '{CONTINUE}' was asked")
    if conversation[0].role == "assistant":
        conversation.insert(0, Message("user", (_FIRST_USER_MESSAGE,)))
        notices.append("the messages begin with the assistant's: a line of the user was put before it")
    return notices
