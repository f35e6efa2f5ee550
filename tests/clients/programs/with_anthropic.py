"""Anthropic's SDK: whole, streamed and parsed, the tool runner, counts, models, and failures."""

from __future__ import annotations

import time
from typing import Any

import anthropic
from anthropic import Anthropic, AsyncAnthropic, beta_tool
from pydantic import BaseModel
from served import serve

client = Anthropic(max_retries=0)
async_client = AsyncAnthropic(max_retries=0)
Messages = list[dict[str, Any]]


class City(BaseModel):
    name: str
    country: str
    twins: list[str]


@beta_tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"21 degrees in {city}"


def create(messages: Messages, **options: Any) -> Any:
    return client.messages.create(model="sonnet", max_tokens=4000, messages=messages, **options).model_dump()


async def create_async(messages: Messages) -> Any:
    answer = await async_client.messages.create(model="sonnet", max_tokens=4000, messages=messages)
    return answer.model_dump()


def streamed(messages: Messages, **options: Any) -> Any:
    """By the helper that puts the answer together again: the texts, and the whole."""
    with client.messages.stream(model="sonnet", max_tokens=4000, messages=messages, **options) as stream:
        texts = [*stream.text_stream]
        return {"texts": texts, "answer": stream.get_final_message().model_dump()}


def parse(messages: Messages) -> Any:
    answer = client.messages.parse(model="sonnet", max_tokens=4000, messages=messages, output_format=City)
    parsed = answer.parsed_output
    return {"city": isinstance(parsed, City) and parsed.model_dump()}


def tool_runner(prompt: str) -> Any:
    """The SDK calls the function itself. It begins a thread, and goes on without where that is refused."""
    runner = client.beta.messages.tool_runner(
        model="sonnet", max_tokens=4000, tools=[get_weather], messages=[{"role": "user", "content": prompt}]
    )
    return {"text": runner.until_done().content[-1].text}


def count(messages: Messages) -> Any:
    return client.messages.count_tokens(model="sonnet", messages=messages).input_tokens


def models() -> Any:
    return {"listed": [model.id for model in client.models.list()], "one": client.models.retrieve("haiku").id}


def failure(messages: Messages, stream: bool = False) -> Any:
    """The error that a caller gets, and how long it took with the SDK's own retries."""
    began = time.monotonic()
    try:
        asked = Anthropic(max_retries=2).messages
        if stream:
            with asked.stream(model="sonnet", max_tokens=4000, messages=messages) as answer:
                answer.get_final_message()
        else:
            asked.create(model="sonnet", max_tokens=4000, messages=messages)
    except anthropic.APIStatusError as error:
        kind, message = type(error).__name__, error.message
        return {
            "type": kind,
            "status": error.status_code,
            "message": message,
            "request_id": error.request_id,
            "seconds": time.monotonic() - began,
        }
    return {"type": None}


serve(
    {
        "create": create,
        "create_async": create_async,
        "streamed": streamed,
        "parse": parse,
        "tool_runner": tool_runner,
        "count": count,
        "models": models,
        "failure": failure,
    }
)
