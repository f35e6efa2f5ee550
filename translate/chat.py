"""Chat completions to turns and back. Pure: no clock, no randomness, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from translate.parameters import judge
from turns.errors import InvalidRequest, UnsupportedParameter
from turns.model import (
    Message,
    Role,
    StopReason,
    TextDelta,
    TurnDone,
    TurnEvent,
    TurnRequest,
    TurnStarted,
)
from turns.model import Usage as TurnUsage
from wire import chat

# Names by which a client that must name a model leaves the choice to us.
PLACEHOLDERS = frozenset({"", "default", "auto", "claude", "claude-cli"})
CONTINUE = "Please continue."
# The API wants a conversation to begin with the user; a client's greeting comes before that.
_OPENING = "(The conversation begins with the assistant's message.)"
# OpenAI's names for efforts that Claude has no such name for.
_EFFORT = {"none": None, "minimal": "low"}
_FINISH: dict[StopReason, chat.FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    # One that is not known may mean that something is missing.
    "other": "length",
}


@dataclass(frozen=True, slots=True)
class Head:
    """What each piece of an answer repeats: `model` is as the client sent it, `created` in epoch seconds."""

    id: str
    model: str
    created: int
    session_id: str | None = None


def to_turn(
    request: chat.ChatRequest, turn_id: str, *, default_model: str | None, stream_mode: str
) -> tuple[TurnRequest, tuple[str, ...]]:
    """The turn that a request asks for, and the names of parameters that are ignored.

    Raises InvalidRequest or UnsupportedParameter with `param`.
    """
    ignored = judge(request.model_extra or {})
    if request.n is not None and request.n > 1:
        raise UnsupportedParameter("'n' above 1 is not supported: send the request again instead.", param="n")
    system, conversation = _split(request.messages)
    if not conversation:
        raise InvalidRequest(
            "There is nothing to answer: 'messages' holds no user message with text in it.", param="messages"
        )
    notices = []
    if conversation[-1].role == "assistant":
        conversation.append(Message("user", (CONTINUE,)))
        notices.append(f"the messages end with the assistant's: '{CONTINUE}' was asked")
    if conversation[0].role == "assistant":
        conversation.insert(0, Message("user", (_OPENING,)))
        notices.append("the messages begin with the assistant's: a line of the user was put before it")
    model = (request.model or "").strip()
    turn = TurnRequest(
        id=turn_id,
        question=conversation[-1],
        history=tuple(conversation[:-1]),
        system=system,
        model=default_model if model in PLACEHOLDERS else model,
        session_id=request.session_id,
        # A reply that isn't streamed is collected anyway: it can be retried to its end.
        effort=_EFFORT.get(request.reasoning_effort or "", request.reasoning_effort),
        max_output_tokens=request.max_completion_tokens or request.max_tokens,
        thinking=request.reasoning_effort != "none",
        buffered=not request.stream or (request.stream_mode or stream_mode) == "buffered",
        notices=tuple(notices),
    )
    return turn, ignored


def _split(messages: Sequence[chat.ChatMessage]) -> tuple[str, list[Message]]:
    """The system text, and the conversation with neighbours of one role merged, as the API wants it."""
    system: list[str] = []
    conversation: list[tuple[Role, list[str]]] = []
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if message.role in ("tool", "function") or message.tool_calls or message.function_call:
            raise UnsupportedParameter("Tool calls and their results are not supported.", param=where)
        texts = [text for text in _texts(message, where) if text.strip()]
        if message.role in ("system", "developer"):
            system += texts
        elif texts:
            role: Role = "assistant" if message.role == "assistant" else "user"
            if conversation and conversation[-1][0] == role:
                conversation[-1][1].extend(texts)
            else:
                conversation.append((role, texts))
        elif index == len(messages) - 1:
            raise InvalidRequest("The last message is blank: there is nothing to answer.", param=where)
    return "\n\n".join(system), [Message(role, tuple(texts)) for role, texts in conversation]


def _texts(message: chat.ChatMessage, where: str) -> Iterator[str]:
    if isinstance(message.content, str):
        yield message.content
    for number, part in enumerate(message.content if isinstance(message.content, list) else ()):
        place = f"{where}.content[{number}]"
        if part.type not in ("text", "refusal"):
            raise UnsupportedParameter(f"Content parts of type '{part.type}' are not supported.", param=place)
        text = part.text if part.type == "text" else part.refusal
        if text is None:
            raise InvalidRequest(f"A part of type '{part.type}' needs '{part.type}'.", param=place)
        yield text
    if message.refusal is not None:
        yield message.refusal


def completion(
    events: Iterable[TurnEvent], head: Head, metadata: dict[str, object] | None
) -> chat.ChatCompletion:
    """The whole answer. `events` must hold the turn's end."""
    texts: list[str] = []
    end: TurnDone | None = None
    for event in events:
        if isinstance(event, TextDelta):
            texts.append(event.text)
        elif isinstance(event, TurnDone):
            end = event
    if end is None:
        raise ValueError("a turn without its end")
    message = chat.AnswerMessage(content="".join(texts))
    choice = chat.Choice(index=0, message=message, finish_reason=_FINISH[end.stop_reason])
    return chat.ChatCompletion(
        id=head.id,
        created=head.created,
        model=head.model,
        choices=[choice],
        usage=usage(end.usage),
        metadata=metadata,
        x_claude=x_claude(end, head),
    )


class ChunkWriter:
    """Turn events to stream chunks: `slice_chars` cuts texts to that length (None: as they come)."""

    def __init__(self, head: Head, *, include_usage: bool, slice_chars: int | None) -> None:
        self._head = head
        self._include_usage = include_usage
        self._slice = slice_chars

    def chunks(self, event: TurnEvent) -> Iterator[chat.ChatChunk]:
        """The chunks that one event becomes."""
        if isinstance(event, TurnStarted):
            yield self._chunk(chat.Delta(role="assistant", content=""))
        elif isinstance(event, TextDelta):
            size = self._slice or len(event.text) or 1
            for start in range(0, len(event.text), size):
                yield self._chunk(chat.Delta(content=event.text[start : start + size]))
        elif isinstance(event, TurnDone):
            extra = x_claude(event, self._head)
            last = self._chunk(chat.Delta(), _FINISH[event.stop_reason])
            if not self._include_usage:
                yield last.model_copy(update={"x_claude": extra})
                return
            yield last
            yield self._base([]).model_copy(update={"usage": usage(event.usage), "x_claude": extra})

    @staticmethod
    def encode(chunk: chat.ChatChunk) -> bytes:
        """A chunk as JSON. A delta holds only what changes; `usage` is null only where OpenAI has it so."""
        return chunk.model_dump_json(exclude_unset=True).encode()

    def _chunk(self, delta: chat.Delta, finish: chat.FinishReason | None = None) -> chat.ChatChunk:
        return self._base([chat.ChunkChoice(index=0, delta=delta, logprobs=None, finish_reason=finish)])

    def _base(self, choices: list[chat.ChunkChoice]) -> chat.ChatChunk:
        head = self._head
        result = chat.ChatChunk(
            id=head.id,
            object="chat.completion.chunk",
            created=head.created,
            model=head.model,
            choices=choices,
            system_fingerprint=None,
        )
        return result.model_copy(update={"usage": None}) if self._include_usage else result


def usage(counts: TurnUsage) -> chat.Usage:
    """Token counts in OpenAI's terms, and the cache's two beside them."""
    return chat.Usage(
        prompt_tokens=counts.prompt_tokens,
        completion_tokens=counts.output_tokens,
        total_tokens=counts.prompt_tokens + counts.output_tokens,
        prompt_tokens_details=chat.PromptTokensDetails(cached_tokens=counts.cache_read_tokens),
        completion_tokens_details=chat.CompletionTokensDetails(reasoning_tokens=counts.thinking_tokens),
        cache_read_input_tokens=counts.cache_read_tokens,
        cache_creation_input_tokens=counts.cache_creation_tokens,
    )


def x_claude(end: TurnDone, head: Head) -> chat.XClaude:
    """What OpenAI's shape has no place for."""
    return chat.XClaude(
        model=end.model,
        cost_usd=end.cost_usd,
        duration_ms=end.duration_ms,
        retries=end.retries,
        engine=end.engine,
        session_id=head.session_id,
        session=end.session,
        notices=list(end.notices),
    )
