"""Translates the events of turns into a chat completion, whole or in chunks. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from claude_server.core.model import (
    BlockEnded,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
    ToolRun,
    TurnDone,
    TurnEvent,
    TurnStarted,
)
from claude_server.dialects.base import ReasoningField
from claude_server.dialects.chat import wire as chat
from claude_server.dialects.chat.reasoning import DetailWriter, details
from claude_server.dialects.counts import usage
from claude_server.dialects.x_claude import end_of, x_claude

_FINISH: dict[StopReason, chat.FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "max_turns": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    # An unknown reason may mean that something is missing.
    "other": "length",
}
_REFUSED = "The model refused to answer."


@dataclass(frozen=True, slots=True)
class AnswerContext:
    """What all parts of an answer share: the fields that each chunk repeats, and how to present events.

    `model` is as the client sent it, `created` in epoch seconds. `reasoning`: the name that thinking goes
    under, None to leave it out; with `details` it goes into `reasoning_details` too. `functions`: calls have
    the older form, `function_call`. `structured`: the text is JSON in the requested format, so a refusal has
    a field of its own. `choices`: number of answers. `shows_tools`: runs of the CLI's own tools are shown as
    thinking.
    """

    id: str
    model: str
    created: int
    session_id: str | None = None
    reasoning: ReasoningField | None = None
    details: bool = False
    functions: bool = False
    structured: bool = False
    choices: int = 1
    shows_tools: bool = True

    def finish(self, end: TurnDone) -> chat.FinishReason:
        reason = _FINISH[end.stop_reason]
        return "function_call" if self.functions and reason == "tool_calls" else reason

    def refuses(self, end: TurnDone, texts: Sequence[str]) -> bool:
        """Does the answer need the `refusal` field, besides its finish reason?"""
        return end.stop_reason == "refusal" and (self.structured or not any(texts))


def completion(
    answers: Sequence[Sequence[TurnEvent]], context: AnswerContext, metadata: dict[str, str] | None
) -> chat.ChatCompletion:
    """The whole completion. Each of `answers` must hold its TurnDone."""
    ends = [end_of(events) for events in answers]
    return chat.ChatCompletion(
        id=context.id,
        created=context.created,
        model=context.model,
        choices=[
            chat.Choice(
                index=index, message=_message(events, end, context), finish_reason=context.finish(end)
            )
            for index, (events, end) in enumerate(zip(answers, ends, strict=True))
        ],
        usage=usage(ends),
        metadata=metadata,
        x_claude=x_claude(ends, context.session_id),
    )


def _message(events: Sequence[TurnEvent], end: TurnDone, context: AnswerContext) -> chat.AnswerMessage:
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[chat.ToolCall] = []
    for event in events:
        if isinstance(event, TextDelta):
            texts.append(event.text)
        elif isinstance(event, ThinkingDelta | ToolRun):
            thoughts.append(_reasoning_text(event, context))
        elif isinstance(event, ToolCallStarted):
            calls.append(chat.ToolCall(id=event.id, function=chat.FunctionCall(name=event.name)))
        elif isinstance(event, ToolCallDelta):
            calls[-1].function.arguments += event.text
    for call in calls:
        call.function.arguments = call.function.arguments or "{}"
    message = chat.AnswerMessage(content="".join(texts) if texts or not calls else None)
    if context.refuses(end, texts):
        message = chat.AnswerMessage(content=None, refusal="".join(texts) or _REFUSED)
    if calls and context.functions:
        message.function_call = calls[0].function
    elif calls:
        message.tool_calls = calls
    if any(thoughts) and context.reasoning:
        setattr(message, context.reasoning, "".join(thoughts))
    if context.details:
        message.reasoning_details = details(events)
    return message


def _reasoning_text(event: ThinkingDelta | ToolRun, context: AnswerContext) -> str:
    """The text for the reasoning field; a run of a CLI tool becomes one line."""
    if isinstance(event, ThinkingDelta):
        return event.text
    return f"{event.name}: {event.what}\n" if context.shows_tools else ""


class _Progress:
    """The progress of one choice in a stream."""

    def __init__(self) -> None:
        self.calls = 0
        self.texts: list[str] = []
        self.arguments = False
        self.details = DetailWriter()


class ChunkWriter:
    """Makes stream chunks of turn events: `slice_chars` cuts texts to that length (None: as they come)."""

    def __init__(self, context: AnswerContext, *, include_usage: bool, slice_chars: int | None) -> None:
        self._context = context
        self._include_usage = include_usage
        self._slice = slice_chars
        self._progress = [_Progress() for _ in range(context.choices)]
        self._ends: list[TurnDone] = []

    def chunks(self, index: int, event: TurnEvent) -> Iterator[chat.ChatChunk]:
        """The chunks that one event of the answer `index` becomes."""
        if isinstance(event, TurnStarted):
            yield self._chunk(index, chat.Delta(role="assistant", content=""))
        elif isinstance(event, TextDelta):
            self._progress[index].texts.append(event.text[:1])
            for piece in self._slices(event.text):
                yield self._chunk(index, chat.Delta(content=piece))
        elif isinstance(event, ThinkingDelta | ToolRun):
            yield from self._thought(index, event)
        elif isinstance(event, BlockEnded):
            if event.thought is not None and self._context.details:
                detail = self._progress[index].details.ended(event.thought)
                yield self._chunk(index, chat.Delta(reasoning_details=[detail]))
        elif isinstance(event, ToolCallStarted | ToolCallDelta):
            yield from self._call(index, event)
        elif isinstance(event, TurnDone):
            yield from self._last(index, event)

    def _thought(self, index: int, event: ThinkingDelta | ToolRun) -> Iterator[chat.ChatChunk]:
        name = self._context.reasoning
        for piece in self._slices(_reasoning_text(event, self._context)) if name else ():
            fields: dict[str, Any] = {str(name): piece}
            if self._context.details and isinstance(event, ThinkingDelta):
                fields["reasoning_details"] = [self._progress[index].details.text(piece)]
            yield self._chunk(index, chat.Delta(**fields))

    def _call(self, index: int, event: ToolCallStarted | ToolCallDelta) -> Iterator[chat.ChatChunk]:
        progress = self._progress[index]
        if isinstance(event, ToolCallStarted):
            yield from self._no_arguments(index)
            progress.calls += 1
            progress.arguments = False
            function = chat.FunctionCallDelta(name=event.name, arguments="")
            first = chat.ToolCallDelta(
                index=progress.calls - 1, id=event.id, type="function", function=function
            )
            yield self._called(index, first)
            return
        progress.arguments = True
        for piece in self._slices(event.text):
            function = chat.FunctionCallDelta(arguments=piece)
            yield self._called(index, chat.ToolCallDelta(index=progress.calls - 1, function=function))

    def _no_arguments(self, index: int) -> Iterator[chat.ChatChunk]:
        """Empty arguments "{}" for a call that had none: clients parse them."""
        progress = self._progress[index]
        if progress.calls and not progress.arguments:
            function = chat.FunctionCallDelta(arguments="{}")
            yield self._called(index, chat.ToolCallDelta(index=progress.calls - 1, function=function))

    def _called(self, index: int, call: chat.ToolCallDelta) -> chat.ChatChunk:
        if self._context.functions:
            return self._chunk(index, chat.Delta(function_call=call.function))
        return self._chunk(index, chat.Delta(tool_calls=[call]))

    def _last(self, index: int, end: TurnDone) -> Iterator[chat.ChatChunk]:
        yield from self._no_arguments(index)
        if self._context.refuses(end, self._progress[index].texts):
            yield self._chunk(index, chat.Delta(refusal=_REFUSED))
        self._ends.append(end)
        last = self._chunk(index, chat.Delta(), self._context.finish(end))
        if len(self._ends) < self._context.choices:
            yield last
            return
        extra = x_claude(self._ends, self._context.session_id)
        if not self._include_usage:
            yield last.model_copy(update={"x_claude": extra})
            return
        yield last
        yield self._base([]).model_copy(update={"usage": usage(self._ends), "x_claude": extra})

    def _slices(self, text: str) -> Iterator[str]:
        size = self._slice or len(text) or 1
        for start in range(0, len(text), size):
            yield text[start : start + size]

    @staticmethod
    def encode(chunk: chat.ChatChunk) -> bytes:
        """A chunk as JSON. A delta holds only what changes; `usage` is null only where OpenAI has it so."""
        return chunk.model_dump_json(exclude_unset=True).encode()

    def _chunk(
        self, index: int, delta: chat.Delta, finish: chat.FinishReason | None = None
    ) -> chat.ChatChunk:
        return self._base([chat.ChunkChoice(index=index, delta=delta, logprobs=None, finish_reason=finish)])

    def _base(self, choices: list[chat.ChunkChoice]) -> chat.ChatChunk:
        context = self._context
        result = chat.ChatChunk(
            id=context.id,
            object="chat.completion.chunk",
            created=context.created,
            model=context.model,
            choices=choices,
            system_fingerprint=None,
        )
        return result.model_copy(update={"usage": None}) if self._include_usage else result
