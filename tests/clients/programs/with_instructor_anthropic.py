"""instructor over Anthropic's SDK."""

from __future__ import annotations

from typing import Any

import instructor
from anthropic import Anthropic
from pydantic import BaseModel
from served import serve

client = instructor.from_anthropic(Anthropic(max_retries=0))


class City(BaseModel):
    """A city."""

    name: str
    country: str
    twins: list[str]


def structured(prompt: str) -> Any:
    city = client.messages.create(
        model="sonnet",
        max_tokens=4000,
        messages=[{"role": "user", "content": prompt}],
        response_model=City,
    )
    return {"city": city.model_dump()}


serve({"structured": structured})
