"""litellm with the server as an OpenAI-compatible one."""

from __future__ import annotations

import json
import os
from typing import Any

import litellm
from pydantic import BaseModel
from served import serve

ASKED: dict[str, Any] = {
    "model": "openai/sonnet",
    "api_base": os.environ["OPENAI_BASE_URL"],
    "api_key": "not-used",
    "num_retries": 0,
    "max_retries": 0,
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
Messages = list[dict[str, Any]]


class City(BaseModel):
    name: str
    country: str
    twins: list[str]


def completion(messages: Messages, **options: Any) -> Any:
    return litellm.completion(messages=messages, **ASKED, **options).model_dump()


async def acompletion(messages: Messages) -> Any:
    return (await litellm.acompletion(messages=messages, **ASKED)).model_dump()


def stream(messages: Messages, **options: Any) -> Any:
    """The texts, and what litellm makes of all chunks."""
    chunks = list(litellm.completion(messages=messages, stream=True, **ASKED, **options))
    texts = [choice.delta.content for chunk in chunks for choice in chunk.choices if choice.delta.content]
    return {"texts": texts, "answer": litellm.stream_chunk_builder(chunks, messages=messages).model_dump()}


def tools(messages: Messages, stream: bool) -> Any:
    """The loop by hand, as litellm's documentation has it."""
    calls = []
    while True:
        answer = litellm.completion(messages=messages, tools=[WEATHER], stream=stream, **ASKED)
        if stream:
            answer = litellm.stream_chunk_builder(list(answer), messages=messages)
        message = answer.choices[0].message
        if not message.tool_calls:
            return {"text": message.content, "calls": calls}
        messages.append(message.model_dump())
        for call in message.tool_calls:
            given = json.loads(call.function.arguments)
            calls.append([call.function.name, given])
            content = f"21 degrees in {given['city']}"
            messages.append({"role": "tool", "tool_call_id": call.id, "content": content})


def structured(messages: Messages) -> Any:
    answer = litellm.completion(messages=messages, response_format=City, **ASKED)
    return City.model_validate_json(answer.choices[0].message.content).model_dump()


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
        "tools": tools,
        "structured": structured,
        "error": error,
    }
)
