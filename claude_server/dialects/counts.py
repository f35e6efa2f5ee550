"""Token counts in the words of OpenAI's chats and completions. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from claude_server.core.model import TurnDone


class PromptTokensDetails(BaseModel):
    """What was read from the API's cache, and what was written to it."""

    cached_tokens: int
    cache_write_tokens: int


class CompletionTokensDetails(BaseModel):
    reasoning_tokens: int


class Usage(BaseModel):
    """Real counts. `prompt_tokens` includes cache reads and writes, which are also given by themselves."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails
    cache_read_input_tokens: int
    cache_creation_input_tokens: int


def usage(ends: Sequence[TurnDone]) -> Usage:
    """Token counts in OpenAI's terms, and the cache's two beside them, added up over the answers."""
    counts = [end.usage for end in ends]

    def total(name: str) -> int:
        return sum(getattr(count, name) for count in counts)

    prompt, written = total("prompt_tokens"), total("output_tokens")
    reads, writes = total("cache_read_tokens"), total("cache_creation_tokens")
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=written,
        total_tokens=prompt + written,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=reads, cache_write_tokens=writes),
        completion_tokens_details=CompletionTokensDetails(reasoning_tokens=total("thinking_tokens")),
        cache_read_input_tokens=reads,
        cache_creation_input_tokens=writes,
    )
