"""The openai SDK: whole, streamed and parsed, and a loop of tool calls."""

from __future__ import annotations

from typing import Any

import openai
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel
from served import serve

client = OpenAI(max_retries=0)
async_client = AsyncOpenAI(max_retries=0)
Messages = list[dict[str, Any]]


class City(BaseModel):
    name: str
    country: str
    twins: list[str]


class GetWeather(BaseModel):
    """The weather in a city."""

    city: str


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


def parse(messages: Messages) -> Any:
    answer = client.chat.completions.parse(model="sonnet", messages=messages, response_format=City)
    parsed = answer.choices[0].message.parsed
    return {"city": isinstance(parsed, City) and parsed.model_dump()}


def parse_streamed(messages: Messages) -> Any:
    with client.chat.completions.stream(model="sonnet", messages=messages, response_format=City) as stream:
        for _ in stream:
            pass
        parsed = stream.get_final_completion().choices[0].message.parsed
    return {"city": isinstance(parsed, City) and parsed.model_dump()}


def tools(messages: Messages, stream: bool) -> Any:
    """The loop by hand: this SDK's runners are for /v1/responses only."""
    calls = []
    weather_tool = openai.pydantic_function_tool(GetWeather, name="get_weather")
    asked = {"model": "sonnet", "messages": messages, "tools": [weather_tool]}
    while True:
        if stream:
            with client.chat.completions.stream(**asked) as events:
                events.until_done()
                message = events.get_final_completion().choices[0].message
        else:
            message = client.chat.completions.parse(**asked).choices[0].message
        if not message.tool_calls:
            return {"text": message.content, "calls": calls}
        messages.append(message.to_dict())
        for call in message.tool_calls:
            weather = call.function.parsed_arguments
            calls.append([call.function.name, weather.model_dump()])
            result = {"role": "tool", "tool_call_id": call.id, "content": f"21 degrees in {weather.city}"}
            messages.append(result)


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
        "parse": parse,
        "parse_streamed": parse_streamed,
        "tools": tools,
        "error": error,
        "models": models,
    }
)
