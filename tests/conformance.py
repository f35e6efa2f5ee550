"""Whether an answer is what the openai SDK's own types say, strictly, and a stream what OpenAI sends.

The SDK itself checks nothing: it builds its objects from whatever comes. Here every body and every chunk is
validated, and a field that the types don't know is a complaint unless it is one of ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from openai.types import Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import Choice, ChoiceDeltaToolCall
from pydantic import BaseModel, ConfigDict, ValidationError

# The fields beside OpenAI's, by the SDK's type.
OURS: dict[str, set[str]] = {
    "ChatCompletion": {"x_claude"},
    "ChatCompletionChunk": {"x_claude"},
    "ChatCompletionMessage": {"reasoning_content", "reasoning", "reasoning_details"},
    "ChoiceDelta": {"reasoning_content", "reasoning", "reasoning_details"},
    "CompletionUsage": {"cache_read_input_tokens", "cache_creation_input_tokens"},
    "Model": {"display_name", "resolves_to"},
}
# A model that was cut off may leave half an object.
_WHOLE = ("stop", "tool_calls", "function_call")


class _ErrorDetail(BaseModel):
    """Four keys, none of them missing; more are allowed."""

    message: str
    type: str
    param: str | None
    code: str | None


class _ErrorBody(BaseModel):
    error: _ErrorDetail


class _ModelList(BaseModel):
    model_config = ConfigDict(extra="allow")

    object: str
    data: list[Model]


def _read(kind: type[BaseModel], raw: bytes | str) -> tuple[Any, list[str]]:
    """The value (None if it can't be read at all), and what is wrong with it."""
    try:
        value = kind.model_validate_json(raw, strict=True)
    except ValidationError as error:
        return None, [f"{kind.__name__}: {error} in {raw!r}"]
    return value, [f"{place} has an unknown field {name!r}" for place, name in _unknown(value)]


def _unknown(value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, BaseModel):
        name = type(value).__name__
        for extra in (value.model_extra or {}).keys() - OURS.get(name, set()):
            yield name, extra
        for inner in vars(value).values():
            yield from _unknown(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _unknown(inner)


def _bad_arguments(arguments: str) -> bool:
    try:
        return not isinstance(json.loads(arguments), dict)
    except ValueError:
        return True


def error_body(raw: bytes) -> list[str]:
    """What is wrong with the body of an error."""
    return _read(_ErrorBody, raw)[1]


def models(raw: bytes, one: bool) -> list[str]:
    """What is wrong with the list of models, or one of them."""
    return _read(Model if one else _ModelList, raw)[1]


def completion(raw: bytes, n: int = 1) -> list[str]:
    """What is wrong with a whole answer to a request for `n` choices."""
    value, found = _read(ChatCompletion, raw)
    if value is None:
        return found
    if [choice.index for choice in value.choices] != list(range(n)):
        found.append(f"the choices aren't 0 to {n - 1}")
    if value.usage is None:
        found.append("there is no usage")
    for choice in value.choices:
        calls = choice.message.tool_calls or []
        called = bool(calls or choice.message.function_call)
        if choice.finish_reason in ("tool_calls", "function_call") and not called:
            found.append(f"the answer ends with {choice.finish_reason} and calls nothing")
        if choice.finish_reason in _WHOLE and any(_bad_arguments(c.function.arguments) for c in calls):
            found.append("the arguments of a call are no JSON object")
    return found


@dataclass
class _ChoiceSoFar:
    role: bool = False
    finish: str | None = None
    calls: list[str] = field(default_factory=list)
    function: bool = False


class StreamChecker:
    """Fed with the bytes of a stream as they come; `complaints` tells what is wrong with them."""

    def __init__(self, *, include_usage: bool, n: int = 1) -> None:
        self.complaints: list[str] = []
        self._include_usage = include_usage
        self._n = n
        self._rest = b""
        self._head: tuple[str, int, str] | None = None
        self._choices: dict[int, _ChoiceSoFar] = {}
        self._usage = False
        self._over: str | None = None

    def feed(self, data: bytes) -> None:
        """Bytes, cut anywhere."""
        *blocks, self._rest = (self._rest + data).split(b"\n\n")
        for block in blocks:
            self._block(block.decode())

    def end(self) -> None:
        """The body has come to its proper end."""
        if self._rest:
            self._complain(f"the stream ends with {self._rest!r}")
        if self._over is None:
            self._complain("the stream ends without [DONE] or an error")
        if self._over == "[DONE]":
            if sorted(self._choices) != list(range(self._n)):
                self._complain(f"the choices aren't 0 to {self._n - 1}: {sorted(self._choices)}")
            if self._include_usage and not self._usage:
                self._complain("no usage came")
            for index, choice in self._choices.items():
                self._ended(index, choice)

    def _complain(self, text: str) -> None:
        self.complaints.append(text)

    def _block(self, block: str) -> None:
        # Comments stand in front of an event, and never by themselves: OpenAI's client for Go would fail.
        while block.startswith(":"):
            _, _, block = block.partition("\n")
        if not block.startswith("data: ") or "\n" in block:
            self._complain(f"not an event of one data line: {block!r}")
            return
        data = block.removeprefix("data: ")
        if self._over is not None:
            self._complain(f"after {self._over}: {data}")
        elif data == "[DONE]":
            self._over = data
        elif data.startswith('{"error"'):
            self._over = "an error"
            self.complaints += error_body(data.encode())
        else:
            value, found = _read(ChatCompletionChunk, data)
            self.complaints += found
            if value is not None:
                self._chunk(value, "usage" in value.model_fields_set)

    def _chunk(self, chunk: ChatCompletionChunk, has_usage: bool) -> None:
        head = (chunk.id, chunk.created, chunk.model)
        self._head = self._head or head
        if head != self._head:
            self._complain(f"{head} after {self._head}")
        if self._usage:
            self._complain("a chunk after the usage")
        if has_usage != self._include_usage:
            self._complain(f"usage in a chunk: {has_usage}, asked for: {self._include_usage}")
        if chunk.usage is not None:
            self._usage = True
            if chunk.choices:
                self._complain("the chunk with the usage has choices")
        elif not chunk.choices:
            self._complain("a chunk without choices and usage")
        for choice in chunk.choices:
            self._choice(choice, self._choices.setdefault(choice.index, _ChoiceSoFar()))

    def _choice(self, choice: Choice, so_far: _ChoiceSoFar) -> None:
        if so_far.finish is not None:
            self._complain(f"choice {choice.index} goes on after its end")
        if (choice.delta.role is None) != so_far.role:
            self._complain(f"choice {choice.index}: the role comes once, in the first delta")
        so_far.role = True
        so_far.function = so_far.function or choice.delta.function_call is not None
        for call in choice.delta.tool_calls or ():
            self._call(call, so_far.calls)
        so_far.finish = choice.finish_reason

    def _call(self, call: ChoiceDeltaToolCall, calls: list[str]) -> None:
        named = call.id, call.type, call.function and call.function.name
        arguments = (call.function and call.function.arguments) or ""
        if call.index == len(calls):
            calls.append(arguments)
            if not all(named):
                self._complain(f"the first delta of a call has no id, type or name: {call!r}")
        elif call.index == len(calls) - 1:
            calls[-1] += arguments
            if any(named):
                self._complain(f"a later delta of a call names it again: {call!r}")
        else:
            self._complain(f"call {call.index} after {len(calls)} of them")

    def _ended(self, index: int, choice: _ChoiceSoFar) -> None:
        if choice.finish is None:
            self._complain(f"choice {index} has no finish_reason")
        if choice.finish in ("tool_calls", "function_call") and not (choice.calls or choice.function):
            self._complain(f"choice {index} ends with {choice.finish} and calls nothing")
        if choice.finish in _WHOLE and any(map(_bad_arguments, choice.calls)):
            self._complain(f"the arguments of a call are no JSON object: {choice.calls}")
