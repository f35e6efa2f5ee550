"""LangChain's ChatOpenAI."""

from __future__ import annotations

from typing import Any

from langchain_openai import ChatOpenAI
from served import serve

# By chat completions: its other way is /v1/responses.
model = ChatOpenAI(model="sonnet", max_retries=0, use_responses_api=False)


def invoke(messages: list[list[str]]) -> Any:
    answer = model.invoke([(role, text) for role, text in messages])
    return {"text": answer.content, "usage": answer.usage_metadata}


def stream(prompt: str) -> Any:
    return {"texts": [chunk.content for chunk in model.stream(prompt) if chunk.content]}


serve({"invoke": invoke, "stream": stream})
