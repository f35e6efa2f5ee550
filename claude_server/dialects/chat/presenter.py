"""Presents turns as a chat completion: its JSON, and its server-sent events. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from claude_server.core.model import TurnEvent
from claude_server.dialects.base import Failure, ServerEvent
from claude_server.dialects.chat.answer import AnswerContext, ChunkWriter, completion
from claude_server.dialects.openai_errors import error_body

_DONE = ServerEvent(b"[DONE]")


class ChatPresenter:
    """A `base.Presenter`. Its events have no names. In silence a comment will do."""

    def __init__(
        self,
        context: AnswerContext,
        metadata: dict[str, str] | None = None,
        *,
        include_usage: bool = False,
        slice_chars: int | None = None,
    ) -> None:
        self._context = context
        self._metadata = metadata
        self._writer = ChunkWriter(context, include_usage=include_usage, slice_chars=slice_chars)

    def whole(self, answers: Sequence[Sequence[TurnEvent]]) -> bytes:
        return completion(answers, self._context, self._metadata).model_dump_json().encode()

    def events(self, index: int, event: TurnEvent) -> Iterator[ServerEvent]:
        for chunk in self._writer.chunks(index, event):
            yield ServerEvent(self._writer.encode(chunk))

    def end(self) -> Iterator[ServerEvent]:
        yield _DONE

    def failed(self, failure: Failure) -> Iterator[ServerEvent]:
        """An error event, after which nothing comes: a `[DONE]` would say that the answer is whole."""
        yield ServerEvent(error_body(failure))

    def ping(self) -> None:
        return None
