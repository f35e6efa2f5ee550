"""A loopback stand-in for Anthropic's Messages API, good enough that the real `claude` CLI can't tell.

Point the CLI at it with ANTHROPIC_BASE_URL and a made-up ANTHROPIC_API_KEY.
`python -m claude_server.standin` runs it by itself; `StandIn` runs it in a thread of a test.
"""

from claude_server.standin.caching import PromptCache, Usage
from claude_server.standin.log import ApiRequest
from claude_server.standin.respond import default_reply
from claude_server.standin.script import (
    Answer,
    ApiError,
    Block,
    Cut,
    RedactedThinking,
    Reply,
    Silence,
    StreamError,
    Text,
    Thinking,
    ToolUse,
    unified_limit_headers,
)
from claude_server.standin.server import StandIn

__all__ = [
    "Answer",
    "ApiError",
    "ApiRequest",
    "Block",
    "Cut",
    "PromptCache",
    "RedactedThinking",
    "Reply",
    "Silence",
    "StandIn",
    "StreamError",
    "Text",
    "Thinking",
    "ToolUse",
    "Usage",
    "default_reply",
    "unified_limit_headers",
]
