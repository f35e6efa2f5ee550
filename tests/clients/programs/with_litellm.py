"""litellm with the server as an OpenAI-compatible one."""

from __future__ import annotations

import os
from typing import Any

import litellm
from served import serve

ASKED: dict[str, Any] = {
    "model": "openai/sonnet",
    "api_base": os.environ["OPENAI_BASE_URL"],
    "api_key": "not-used",
    "num_retries": 0,
    "max_retries": 0,
}
Messages = list[dict[str, Any]]


def completion(messages: Messages, **options: Any) -> Any:
    return litellm.completion(messages=messages, **ASKED, **options).model_dump()


async def acompletion(messages: Messages) -> Any:
    return (await litellm.acompletion(messages=messages, **ASKED)).model_dump()


def stream(messages: Messages, **options: Any) -> Any:
    """The texts, and what litellm makes of all chunks."""
    chunks = list(litellm.completion(messages=messages, stream=True, **ASKED, **options))
    texts = [choice.delta.content for chunk in chunks for choice in chunk.choices if choice.delta.content]
    return {"texts": texts, "answer": litellm.stream_chunk_builder(chunks, messages=messages).model_dump()}


def error(messages: Messages) -> Any:
    try:
        completion(messages)
    except litellm.exceptions.APIError as raised:
        return {"kind": type(raised).__name__}
    except litellm.exceptions.RateLimitError as raised:
        return {"kind": type(raised).__name__}
    return None


serve(
    {
        "completion": completion,
        "acompletion": acompletion,
        "stream": stream,
        "error": error,
    }
)
