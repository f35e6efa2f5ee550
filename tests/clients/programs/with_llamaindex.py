"""LlamaIndex's OpenAILike."""

from __future__ import annotations

import os
from typing import Any

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel
from served import serve

llm = OpenAILike(
    model="sonnet",
    api_base=os.environ["OPENAI_BASE_URL"],
    api_key="not-used",
    is_chat_model=True,
    is_function_calling_model=True,
    max_retries=0,
)


class City(BaseModel):
    """A city."""

    name: str
    country: str
    twins: list[str]


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"21 degrees in {city}"


def chat(messages: list[list[str]]) -> Any:
    return {
        "text": llm.chat([ChatMessage(role=role, content=text) for role, text in messages]).message.content
    }


def complete(prompt: str) -> Any:
    return {"text": llm.complete(prompt).text}


def stream(prompt: str) -> Any:
    return {"texts": [part.delta for part in llm.stream_chat([ChatMessage(role="user", content=prompt)])]}


async def stream_async(prompt: str) -> Any:
    answer = await llm.astream_chat([ChatMessage(role="user", content=prompt)])
    return {"texts": [part.delta async for part in answer]}


def tools(prompt: str) -> Any:
    """The loop by hand: call, result, answer."""
    tool = FunctionTool.from_defaults(get_weather)
    history = [ChatMessage(role="user", content=prompt)]
    answer = llm.chat_with_tools([tool], chat_history=history)
    calls = llm.get_tool_calls_from_response(answer)
    history.append(answer.message)
    for call in calls:
        result = tool(**call.tool_kwargs)
        kwargs = {"tool_call_id": call.tool_id}
        history.append(ChatMessage(role="tool", content=str(result), additional_kwargs=kwargs))
    text = llm.chat_with_tools([tool], chat_history=history).message.content
    return {"text": text, "calls": [[call.tool_name, call.tool_kwargs] for call in calls]}


def structured(prompt: str) -> Any:
    return llm.as_structured_llm(City).complete(prompt).raw.model_dump()


serve(
    {
        "chat": chat,
        "complete": complete,
        "stream": stream,
        "stream_async": stream_async,
        "tools": tools,
        "structured": structured,
    }
)
