"""The openai SDK: whole and streamed."""

from __future__ import annotations

from typing import Any

import openai
from openai import AsyncOpenAI, OpenAI
from served import serve

client = OpenAI(max_retries=0)
async_client = AsyncOpenAI(max_retries=0)
Messages = list[dict[str, Any]]


def create(messages: Messages, **options: Any) -> Any:
    return client.chat.completions.create(model="sonnet", messages=messages, **options).model_dump()


async def create_async(messages: Messages) -> Any:
    answer = await async_client.chat.completions.create(model="sonnet", messages=messages)
    return answer.model_dump()


def pieces(messages: Messages, **options: Any) -> Any:
    """The texts of a stream, and its usage."""
    texts, usage = [], None
    for chunk in client.chat.completions.create(model="sonnet", messages=messages, stream=True, **options):
        texts += [choice.delta.content for choice in chunk.choices if choice.delta.content]
        usage = chunk.usage or usage
    return {"texts": texts, "usage": usage and usage.model_dump()}


def streamed(messages: Messages, **options: Any) -> Any:
    """By the helper that puts the answer together again: what it says on the way, and the whole."""
    with client.chat.completions.stream(model="sonnet", messages=messages, **options) as stream:
        kinds = [event.type for event in stream]
        return {"events": kinds, "answer": stream.get_final_completion().model_dump()}


def error(messages: Messages, **options: Any) -> Any:
    """What the SDK raises."""
    try:
        create(messages, **options)
    except openai.APIStatusError as raised:
        return {"kind": type(raised).__name__, "code": raised.code, "param": raised.param}
    return None


def models() -> Any:
    return [model.id for model in client.models.list()]


serve(
    {
        "create": create,
        "create_async": create_async,
        "pieces": pieces,
        "streamed": streamed,
        "error": error,
        "models": models,
    }
)
