"""openai-agents over /v1/responses: tools, a handoff, a model as output, sessions."""

from __future__ import annotations

from typing import Any

from agents import (
    Agent,
    OpenAIConversationsSession,
    Runner,
    SQLiteSession,
    function_tool,
    set_tracing_disabled,
)
from pydantic import BaseModel
from served import serve

set_tracing_disabled(True)


class City(BaseModel):
    name: str
    country: str
    twins: list[str]


@function_tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"21 degrees in {city}"


weather = Agent(name="weather", model="sonnet", tools=[get_weather])


async def tools(prompt: str) -> Any:
    return {"text": (await Runner.run(weather, prompt)).final_output}


async def tools_streamed(prompt: str) -> Any:
    run = Runner.run_streamed(weather, prompt)
    kinds = {event.type async for event in run.stream_events()}
    return {"text": run.final_output, "kinds": sorted(kinds)}


async def follow(prompt: str, more: str) -> Any:
    """The second request names the first one's response, and sends what is new."""
    first = await Runner.run(weather, prompt)
    second = await Runner.run(weather, more, previous_response_id=first.last_response_id)
    return {"text": second.final_output}


async def handoff(prompt: str) -> Any:
    other = Agent(name="other", model="sonnet")
    run = await Runner.run(Agent(name="first", model="sonnet", handoffs=[other]), prompt)
    return {"agent": run.last_agent.name, "text": run.final_output}


async def structured(prompt: str) -> Any:
    run = await Runner.run(Agent(name="cities", model="sonnet", output_type=City), prompt)
    return run.final_output.model_dump()


async def sessions(prompt: str, more: str) -> Any:
    """One that the client keeps, and one that the server keeps as a conversation."""
    texts = []
    for session in (SQLiteSession("s"), OpenAIConversationsSession()):
        await Runner.run(weather, prompt, session=session)
        texts.append((await Runner.run(weather, more, session=session)).final_output)
    return {"texts": texts}


serve(
    {
        "tools": tools,
        "tools_streamed": tools_streamed,
        "follow": follow,
        "handoff": handoff,
        "structured": structured,
        "sessions": sessions,
    }
)
