"""LangChain's ChatOpenAI by itself, and an agent."""

from __future__ import annotations

from typing import Any

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI
from pydantic import BaseModel
from served import serve

# By chat completions: its other way is /v1/responses.
model = ChatOpenAI(model="sonnet", max_retries=0, use_responses_api=False)


class City(BaseModel):
    """A city."""

    name: str
    country: str
    twins: list[str]


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"21 degrees in {city}"


@tool
def look(number: int) -> str:
    """Looks behind a door."""
    return f"saw {number}"


def invoke(messages: list[list[str]]) -> Any:
    answer = model.invoke([(role, text) for role, text in messages])
    return {"text": answer.content, "usage": answer.usage_metadata}


def stream(prompt: str) -> Any:
    return {"texts": [chunk.content for chunk in model.stream(prompt) if chunk.content]}


def agent(prompt: str) -> Any:
    answer = create_agent(model, [get_weather]).invoke({"messages": [{"role": "user", "content": prompt}]})
    return {"text": answer["messages"][-1].content, "kinds": [message.type for message in answer["messages"]]}


def agent_streamed(prompt: str) -> Any:
    texts = []
    asked = {"messages": [{"role": "user", "content": prompt}]}
    for chunk, _ in create_agent(model, [get_weather]).stream(asked, stream_mode="messages"):
        if chunk.type == "AIMessageChunk" and chunk.content:
            texts.append(chunk.content)
    return {"texts": texts}


def loop(prompt: str, stream: bool) -> Any:
    model = ChatOpenAI(model="sonnet", max_retries=0, use_responses_api=False, streaming=stream)
    asked = {"messages": [{"role": "user", "content": prompt}]}
    answer = create_agent(model, [look], system_prompt="Be brief.").invoke(asked, {"recursion_limit": 100})
    return {"text": answer["messages"][-1].content}


def responses(prompt: str, more: str) -> Any:
    """Over /v1/responses: an agent, a stream, and a second request that names the first one's response."""
    model = ChatOpenAI(model="sonnet", max_retries=0, use_responses_api=True)
    asked = {"messages": [{"role": "user", "content": prompt}]}
    answer = create_agent(model, [get_weather]).invoke(asked)["messages"][-1]
    followed = model.invoke(more, previous_response_id=answer.response_metadata["id"])
    streamed = [chunk.text for chunk in model.stream(more)]
    return {"text": answer.text, "followed": followed.text, "streamed": "".join(streamed)}


def completions(prompts: list[str]) -> Any:
    return {"texts": OpenAI(model="sonnet", max_retries=0).batch(prompts)}


def structured(prompt: str, method: str) -> Any:
    return model.with_structured_output(City, method=method).invoke(prompt).model_dump()


serve(
    {
        "invoke": invoke,
        "stream": stream,
        "agent": agent,
        "agent_streamed": agent_streamed,
        "loop": loop,
        "structured": structured,
        "responses": responses,
        "completions": completions,
    }
)
