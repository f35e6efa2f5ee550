"""Presents turns as a completion: its JSON, and its server-sent events. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from claude_server.core.model import StopReason, TextDelta, TurnDone, TurnEvent, TurnStarted
from claude_server.dialects.base import Failure, ServerEvent
from claude_server.dialects.completions import wire
from claude_server.dialects.counts import usage
from claude_server.dialects.openai_errors import error_body
from claude_server.dialects.x_claude import end_of, x_claude

_DONE = ServerEvent(b"[DONE]")
_FINISH: dict[StopReason, wire.FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "refusal": "content_filter",
}
_FENCE = "```"


class Unfenced:
    """A text as it comes, without a code fence around it."""

    def __init__(self, active: bool) -> None:
        self._active = active
        self._held = ""
        self._begun = False
        self._fenced = False

    def feed(self, text: str) -> str:
        """What can be told by now."""
        if not self._active:
            return text
        self._held += text
        if not self._begun:
            start = self._held.lstrip()
            if len(start) < len(_FENCE) and _FENCE.startswith(start):
                return ""
            self._fenced = start.startswith(_FENCE)
            if self._fenced and "\n" not in start:
                return ""
            self._begun = True
            self._held = start.partition("\n")[2] if self._fenced else self._held
        if not self._fenced:
            told, self._held = self._held, ""
            return told
        # The last line may be the fence's end.
        keep = max(0, self._held.rfind("\n"))
        told, self._held = self._held[:keep], self._held[keep:]
        return told

    def end(self) -> str:
        """What is left."""
        left = self._held
        return left.rstrip().removesuffix(_FENCE).removesuffix("\n") if self._fenced else left


class CompletionPresenter:
    """A `base.Presenter`. `base` is the completion without its choices; `echoes`: what each text is put
    behind; `fills`: texts are taken out of code fences; `slice_chars` cuts them (None: as they come)."""

    def __init__(
        self,
        base: wire.Completion,
        echoes: Sequence[str],
        *,
        fills: bool = False,
        include_usage: bool = False,
        slice_chars: int | None = None,
    ) -> None:
        self._base = base
        self._echoes = echoes
        self._unfenced = [Unfenced(fills) for _ in echoes]
        self._fills = fills
        self._include_usage = include_usage
        self._slice = slice_chars
        self._ends: list[TurnDone] = []

    def whole(self, answers: Sequence[Sequence[TurnEvent]]) -> bytes:
        ends = [end_of(events) for events in answers]
        choices = []
        for index, (events, end) in enumerate(zip(answers, ends, strict=True)):
            plain = Unfenced(self._fills)
            texts = [plain.feed(event.text) for event in events if isinstance(event, TextDelta)]
            text = "".join((self._echoes[index], *texts, plain.end()))
            choices.append(wire.Choice(index=index, text=text, finish_reason=_finish(end)))
        made = self._base.model_copy(
            update={"choices": choices, "usage": usage(ends), "x_claude": x_claude(ends)}
        )
        return made.model_dump_json().encode()

    def events(self, index: int, event: TurnEvent) -> Iterator[ServerEvent]:
        if isinstance(event, TurnStarted) and self._echoes[index]:
            yield self._chunk(index, self._echoes[index])
        elif isinstance(event, TextDelta):
            yield from self._texts(index, self._unfenced[index].feed(event.text))
        elif isinstance(event, TurnDone):
            yield from self._texts(index, self._unfenced[index].end())
            self._ends.append(event)
            yield self._chunk(index, "", _finish(event))

    def end(self) -> Iterator[ServerEvent]:
        if self._include_usage:
            yield self._encoded({"choices": [], "usage": usage(self._ends), "x_claude": x_claude(self._ends)})
        yield _DONE

    def failed(self, failure: Failure) -> Iterator[ServerEvent]:
        yield ServerEvent(error_body(failure))

    def ping(self) -> None:
        return None

    def _texts(self, index: int, text: str) -> Iterator[ServerEvent]:
        size = self._slice or len(text) or 1
        for start in range(0, len(text), size):
            yield self._chunk(index, text[start : start + size])

    def _chunk(self, index: int, text: str, finish: wire.FinishReason | None = None) -> ServerEvent:
        return self._encoded({"choices": [wire.Choice(index=index, text=text, finish_reason=finish)]})

    def _encoded(self, update: dict[str, object]) -> ServerEvent:
        left_out = {name for name in ("usage", "x_claude") if name not in update}
        if self._include_usage:
            left_out.discard("usage")
        return ServerEvent(self._base.model_copy(update=update).model_dump_json(exclude=left_out).encode())


def _finish(end: TurnDone) -> wire.FinishReason:
    return _FINISH.get(end.stop_reason, "length")
