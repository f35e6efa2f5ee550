"""instructor: a pydantic model out of an answer, by each way that it knows for OpenAI."""

from __future__ import annotations

from typing import Any

import instructor
from openai import OpenAI
from pydantic import BaseModel
from served import serve


class City(BaseModel):
    name: str
    country: str
    twins: list[str]


def asked(prompt: str) -> dict[str, Any]:
    return {"model": "sonnet", "messages": [{"role": "user", "content": prompt}], "max_retries": 0}


def client(mode: str) -> Any:
    return instructor.from_openai(OpenAI(max_retries=0), mode=instructor.Mode[mode])


def extract(prompt: str, mode: str) -> Any:
    return client(mode).create(response_model=City, **asked(prompt)).model_dump()


def partial(prompt: str, mode: str) -> Any:
    """The model as it grows while it is streamed."""
    return [city.model_dump() for city in client(mode).create_partial(response_model=City, **asked(prompt))]


def retried(prompt: str) -> Any:
    """What was wrong with the first answer goes back with the second question."""
    return client("TOOLS").create(response_model=City, **{**asked(prompt), "max_retries": 1}).model_dump()


serve({"extract": extract, "partial": partial, "retried": retried})
