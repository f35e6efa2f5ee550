"""LangChain's ChatAnthropic by itself, and an agent."""

from __future__ import annotations

from typing import Any

from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool
from pydantic import BaseModel
from served import serve

model = ChatAnthropic(model="sonnet", max_tokens=4000, max_retries=0)
thinker = ChatAnthropic(
    model="sonnet", max_tokens=4000, max_retries=0, thinking={"type": "enabled", "budget_tokens": 2000}
)


class City(BaseModel):
    """A city."""

    name: str
    country: str
    twins: list[str]


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"21 degrees in {city}"


def invoke(messages: list[list[str]]) -> Any:
    answer = model.invoke([(role, text) for role, text in messages])
    return {"text": answer.content, "usage": answer.usage_metadata}


def stream(prompt: str) -> Any:
    """The texts of a stream, and the usage of the whole."""
    texts, whole = [], None
    for chunk in model.stream(prompt):
        texts += [chunk.text] if chunk.text else []
        whole = chunk if whole is None else whole + chunk
    return {"texts": texts, "usage": whole is not None and whole.usage_metadata}


def agent(prompt: str, thinks: bool = False) -> Any:
    made = create_agent(thinker if thinks else model, [get_weather])
    return {"text": made.invoke({"messages": [("user", prompt)]})["messages"][-1].text}


def structured(prompt: str, method: str) -> Any:
    city = model.with_structured_output(City, method=method).invoke(prompt)
    return {"city": isinstance(city, City) and city.model_dump()}


serve({"invoke": invoke, "stream": stream, "agent": agent, "structured": structured})
