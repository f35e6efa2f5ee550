"""LlamaIndex's OpenAILike."""

from __future__ import annotations

import os
from typing import Any

from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike
from served import serve

llm = OpenAILike(
    model="sonnet",
    api_base=os.environ["OPENAI_BASE_URL"],
    api_key="not-used",
    is_chat_model=True,
    max_retries=0,
)


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


serve(
    {
        "chat": chat,
        "complete": complete,
        "stream": stream,
        "stream_async": stream_async,
    }
)
