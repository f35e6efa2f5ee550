"""What reached the stand-in, as the self-test compares it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claude_server.standin import ApiRequest


def messages(request: ApiRequest) -> list[Any]:
    """The messages of a request as the API's cache compares them."""
    return [
        {**message, "content": [_uncached(block) for block in _blocks(message)]}
        for message in request.body["messages"]
    ]


def _blocks(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _uncached(block: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in block.items() if name != "cache_control"}


def notes(request: ApiRequest) -> bool:
    """Is there anything in the conversation that the check didn't say?"""
    texts = [block.get("text") for message in request.body["messages"] for block in _blocks(message)]
    return texts != [text for _, text in request.conversation]
