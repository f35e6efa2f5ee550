"""pydantic-ai: agents that answer and stream."""

from __future__ import annotations

from typing import Any

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from served import serve

model = OpenAIChatModel("sonnet")


async def run(prompt: str, instructions: list[str]) -> Any:
    answer = await Agent(model, system_prompt=instructions).run(prompt)
    return {"text": answer.output, "tokens": answer.usage.output_tokens}


async def stream(prompt: str) -> Any:
    async with Agent(model).run_stream(prompt) as answer:
        return {"texts": [text async for text in answer.stream_text(delta=True, debounce_by=None)]}


serve({"run": run, "stream": stream})
