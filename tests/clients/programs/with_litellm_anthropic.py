"""litellm's `anthropic/` provider."""

from __future__ import annotations

import os
from typing import Any

import litellm
from pydantic import BaseModel
from served import serve

MODEL = "anthropic/claude-sonnet-4-5"
BASE = {"api_base": os.environ["ANTHROPIC_BASE_URL"], "api_key": "not-used", "max_retries": 0}


class City(BaseModel):
    name: str
    country: str
    twins: list[str]


def completion(messages: list[dict[str, Any]], **options: Any) -> Any:
    return litellm.completion(model=MODEL, messages=messages, **BASE, **options).model_dump()


def streamed(messages: list[dict[str, Any]]) -> Any:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = [*litellm.completion(model=MODEL, messages=messages, **BASE, **options)]
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    whole = litellm.stream_chunk_builder(chunks)
    return {"texts": texts, "usage": whole.usage.model_dump()}


def parse(messages: list[dict[str, Any]]) -> Any:
    answer = litellm.completion(model=MODEL, messages=messages, response_format=City, **BASE)
    return {"city": City.model_validate_json(answer.choices[0].message.content).model_dump()}


def failure(messages: list[dict[str, Any]]) -> Any:
    try:
        litellm.completion(model=MODEL, messages=messages, **BASE)
    except Exception as error:
        return {"type": type(error).__name__}
    return {"type": None}


serve({"completion": completion, "streamed": streamed, "parse": parse, "failure": failure})
