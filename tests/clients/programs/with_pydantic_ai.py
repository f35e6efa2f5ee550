"""pydantic-ai: agents that answer, stream, call tools and return a model."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, PromptedOutput, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from served import serve

model = OpenAIChatModel("sonnet")


class City(BaseModel):
    name: str
    country: str
    twins: list[str]


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"21 degrees in {city}"


def look(number: int) -> str:
    """Looks behind a door."""
    return f"saw {number}"


async def run(prompt: str, instructions: list[str]) -> Any:
    answer = await Agent(model, system_prompt=instructions).run(prompt)
    return {"text": answer.output, "tokens": answer.usage.output_tokens}


async def reasoning(prompt: str) -> Any:
    answer = await Agent(model).run(prompt)
    return {"text": answer.output, "reasoning": answer.response.thinking}


async def stream(prompt: str) -> Any:
    async with Agent(model).run_stream(prompt) as answer:
        return {"texts": [text async for text in answer.stream_text(delta=True, debounce_by=None)]}


async def tools(prompt: str) -> Any:
    return {"text": (await Agent(model, tools=[get_weather]).run(prompt)).output}


async def tools_streamed(prompt: str) -> Any:
    # run_stream() would end at the first text; this goes on to the end.
    async with Agent(model, tools=[get_weather]).run_stream_events(prompt) as events:
        seen = [event async for event in events]
    return {"text": seen[-1].result.output}


async def loop(prompt: str, stream: bool) -> Any:
    agent = Agent(model, tools=[look], system_prompt="Be brief.")
    if not stream:
        return {"text": (await agent.run(prompt)).output}
    async with agent.run_stream_events(prompt) as events:
        seen = [event async for event in events]
    return {"text": seen[-1].result.output}


async def responses(prompt: str, more: str) -> Any:
    """Over /v1/responses: a tool, then a second turn with all messages; streamed; a model as output."""
    made = OpenAIResponsesModel("sonnet")
    first = await Agent(made, tools=[get_weather]).run(prompt)
    second = await Agent(made).run(more, message_history=first.all_messages())
    async with Agent(made).run_stream(more) as answer:
        streamed = await answer.get_output()
    return {"text": first.output, "followed": second.output, "streamed": streamed}


async def structured(prompt: str, by: str) -> Any:
    wanted: Any = {"tool": ToolOutput, "native": NativeOutput, "prompt": PromptedOutput}[by]
    return (await Agent(model, output_type=wanted(City)).run(prompt)).output.model_dump()


serve(
    {
        "run": run,
        "reasoning": reasoning,
        "stream": stream,
        "tools": tools,
        "tools_streamed": tools_streamed,
        "loop": loop,
        "structured": structured,
        "responses": responses,
    }
)
