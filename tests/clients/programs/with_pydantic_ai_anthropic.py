"""pydantic-ai's AnthropicModel: text, streams, a tool, and output by a tool and by schema."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.models.anthropic import AnthropicModel
from served import serve

# It goes by the name what a model can do.
model = AnthropicModel("claude-sonnet-4-5")


class City(BaseModel):
    """A city."""

    name: str
    country: str
    twins: list[str]


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"21 degrees in {city}"


async def run(prompt: str) -> Any:
    answer = await Agent(model, instructions="You are terse.").run(prompt)
    return {"text": answer.output, "input_tokens": answer.usage.input_tokens}


async def streamed(prompt: str) -> Any:
    async with Agent(model).run_stream(prompt) as stream:
        return {"texts": [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]}


async def tools(prompt: str) -> Any:
    return {"text": (await Agent(model, tools=[get_weather]).run(prompt)).output}


async def structured(prompt: str, by: str) -> Any:
    form = NativeOutput(City) if by == "native" else ToolOutput(City)
    answer = await Agent(model, output_type=form).run(prompt)
    return {"city": answer.output.model_dump()}


serve({"run": run, "streamed": streamed, "tools": tools, "structured": structured})
