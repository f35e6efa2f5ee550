"""The OpenAI Agents SDK, by chat completions and by its own way, /v1/responses."""

from __future__ import annotations

from typing import Any

from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from served import serve

# Traces would go to OpenAI.
set_tracing_disabled(True)
client = AsyncOpenAI(max_retries=0)
WAYS: dict[str, Any] = {"chat": OpenAIChatCompletionsModel, "responses": OpenAIResponsesModel}


@function_tool
def look(number: int) -> str:
    """Looks behind a door."""
    return f"saw {number}"


async def loop(prompt: str, stream: bool, way: str) -> Any:
    model = WAYS[way](model="sonnet", openai_client=client)
    agent = Agent(name="looker", instructions="Be brief.", tools=[look], model=model)
    if not stream:
        return {"text": (await Runner.run(agent, prompt, max_turns=100)).final_output}
    running = Runner.run_streamed(agent, prompt, max_turns=100)
    async for _ in running.stream_events():
        pass
    return {"text": running.final_output}


serve({"loop": loop})
