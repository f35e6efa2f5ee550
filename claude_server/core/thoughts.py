"""What a model thought before its calls, for clients that can't send it back.

A call's id comes back with its result. By it the thoughts are put where they were: the model goes on from
them, and the API's cache finds the conversation as it was. What the client itself sends stays where nothing
is known of its calls.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import replace

from claude_server.core.backend import Backend
from claude_server.core.errors import ThoughtsMissing, ThoughtsRefused
from claude_server.core.model import (
    AttemptRequest,
    Block,
    BlockEnded,
    Message,
    TextDelta,
    Thinking,
    Thought,
    ToolCallStarted,
    ToolResult,
    ToolUse,
    TurnDone,
    TurnEvent,
    TurnRequest,
    resolved_model,
)
from claude_server.core.ports import CallThoughts, StoreError, ThoughtStore

# Refused thoughts that are remembered: some MB at most.
_MAX_REFUSED = 20_000
# A client may make up names of models.
_MAX_MODELS = 100

_NO_TEXT = ToolUse | Thought

_REFUSED = "the API refused earlier thinking: the model was asked again without it"
_NOT_READ = "earlier thinking can't be read, and was left out: {error}"
_NOT_KEPT = "the model's thinking can't be kept for the next request: {error}"


class AnswerThoughts:
    """Reads the thoughts before each call from the events of an answer."""

    def __init__(self) -> None:
        self._notes: list[CallThoughts] = []
        self._begin()

    def _begin(self) -> None:
        self._leading: list[Thought] = []
        self._trailing: list[Thought] = []
        self._text = False

    def feed(self, event: TurnEvent) -> None:
        if isinstance(event, TextDelta):
            self._text = True
        elif isinstance(event, BlockEnded) and event.thought is not None:
            (self._trailing if self._text else self._leading).append(event.thought)
        elif isinstance(event, ToolCallStarted):
            if self._leading or self._trailing:
                self._notes.append(CallThoughts(event.id, "", tuple(self._leading), tuple(self._trailing)))
            self._begin()

    def of(self, model: str) -> list[CallThoughts]:
        """The notes, if the answer came from the model with this resolved id."""
        return [replace(note, model=model) for note in self._notes]


def with_thoughts(
    messages: Sequence[Message], notes: Mapping[str, CallThoughts], model: str, refused: Container[str] = ()
) -> tuple[Message, ...]:
    """The messages with the thoughts in `notes` before the calls in them.

    If a call is noted, all thoughts of its message are known: those that came along are left out, and so are
    those of another model than `model` (a resolved id). Nowhere are any with a fingerprint in `refused`.
    """
    return tuple(_with_thoughts(m, notes, model, refused) if m.role == "assistant" else m for m in messages)


def _with_thoughts(
    message: Message, notes: Mapping[str, CallThoughts], model: str, refused: Container[str]
) -> Message:
    known = any(isinstance(block, ToolUse) and block.id in notes for block in message.blocks)
    result: list[Block] = []
    # Where the text in front of the next call begins.
    begin = 0
    for block in message.blocks:
        if isinstance(block, Thought) and known:
            continue
        note = notes.get(block.id) if isinstance(block, ToolUse) else None
        if note is not None and note.model == model:
            result[begin:begin] = note.leading
            result += note.trailing
        result.append(block)
        if isinstance(block, _NO_TEXT):
            begin = len(result)
    if refused:
        result = [b for b in result if not (isinstance(b, Thought) and fingerprint(b) in refused)]
    return message if tuple(result) == message.blocks else replace(message, blocks=tuple(result))


def fingerprint(block: Block) -> str:
    """What a thought is known by: its signature, or its data."""
    sign = block.signature if isinstance(block, Thinking) else getattr(block, "data", "")
    return hashlib.blake2b(sign.encode("utf-8", "replace"), digest_size=16).hexdigest()


class Remembered:
    """Names, the last `most` of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._names: OrderedDict[str, None] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def add(self, name: str) -> None:
        self._names[name] = None
        if len(self._names) > self._most:
            self._names.popitem(last=False)


class Thoughts:
    """The thoughts of all turns. `store` None: nothing is kept.

    Remembered while the server runs: `refused`, the fingerprints of what the API refused, which is not sent
    again; `strict`, the models of which it wanted thoughts where there were none. Such a model doesn't think
    about results without them.
    """

    def __init__(self, store: ThoughtStore | None = None) -> None:
        self.store = store
        self.refused = Remembered(_MAX_REFUSED)
        self.strict = Remembered(_MAX_MODELS)


class TurnThoughts:
    """The thoughts of one turn: those that go into the requests of its attempts, and those of its answer."""

    def __init__(self, thoughts: Thoughts, turn: TurnRequest, backend: Backend) -> None:
        self._thoughts = thoughts
        self._owner = turn.owner
        self._model = turn.model
        self._backend = backend
        self._answer = AnswerThoughts()
        self._sent: list[Block] = []
        self._asked_again = False
        self._off = False
        self._notices: list[str] = []

    @property
    def _resolved(self) -> str:
        # Not known before the CLI has been looked at.
        return resolved_model(self._model, self._backend.models)

    async def request(self, request: AttemptRequest) -> AttemptRequest:
        """The request of an attempt, with the thoughts that belong into it."""
        self._answer = AnswerThoughts()
        model, turn, plan = self._resolved, request.turn, request.session
        resumed = plan is not None and plan.how == "resume"
        results = {block.id for block in turn.question.blocks if isinstance(block, ToolResult)}
        calls = {b.id for m in request.history for b in m.blocks if isinstance(b, ToolUse)}
        notes = await self._load(calls | results if resumed else calls)
        history = with_thoughts(request.history, notes, model, self._thoughts.refused)
        self._sent = [block for message in history for block in message.blocks if isinstance(block, Thought)]
        thoughtful = bool(history) and isinstance(history[-1].blocks[0], Thought)
        if self._off or (results and model in self._thoughts.strict and not thoughtful):
            turn = replace(turn, thinking=False)
        if resumed and plan is not None:
            held = any(note.model == model for id, note in notes.items() if id in results)
            plan = replace(plan, thoughtful=held)
        return replace(request, turn=turn, history=history, session=plan)

    async def _load(self, calls: Collection[str]) -> Mapping[str, CallThoughts]:
        if self._thoughts.store is None or not calls:
            return {}
        try:
            return await self._thoughts.store.load(self._owner, calls)
        except StoreError as error:
            self._notices.append(_NOT_READ.format(error=error))
            return {}

    def leave_out(self, error: ThoughtsRefused | ThoughtsMissing) -> bool:
        """Leave out what the API refused, thoughts or thinking itself. May the turn be asked once more?"""
        missing = isinstance(error, ThoughtsMissing)
        if self._asked_again or not (missing or self._sent):
            return False
        # The CLI itself leaves out thoughts whose signature was refused: then we hear of their lack.
        for block in self._sent:
            self._thoughts.refused.add(fingerprint(block))
        if self._sent:
            self._notices.append(_REFUSED)
        elif model := self._resolved:
            self._thoughts.strict.add(model)
        self._asked_again, self._off = True, missing
        return True

    async def seen(self, event: TurnEvent) -> TurnEvent:
        """The event, with our notices if it is the end. Keeps the answer's thoughts before that is sent."""
        self._answer.feed(event)
        if not isinstance(event, TurnDone):
            return event
        model, store = self._resolved, self._thoughts.store
        notes = self._answer.of(model)
        if store is not None and notes and model:
            try:
                await store.save(self._owner, notes)
            except StoreError as error:
                self._notices.append(_NOT_KEPT.format(error=error))
        return replace(event, notices=(*event.notices, *dict.fromkeys(self._notices)))
