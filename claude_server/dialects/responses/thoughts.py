"""Thoughts as reasoning items carry them: signed and opaque, so that they can come back. Pure."""

from __future__ import annotations

import base64
import binascii
import json

from claude_server.core.model import RedactedThinking, Thinking, Thought

_VERSION = 1


def sealed(thought: Thought) -> str:
    """The `encrypted_content` of a reasoning item. It is not secret: the API's signature is what makes it
    good."""
    if isinstance(thought, RedactedThinking):
        parts = {"v": _VERSION, "data": thought.data}
    else:
        parts = {"v": _VERSION, "text": thought.text, "signature": thought.signature}
    return base64.b64encode(json.dumps(parts, ensure_ascii=False).encode()).decode()


def opened(content: str) -> Thought | None:
    """What was sealed; None for what we did not seal."""
    try:
        parts = json.loads(base64.b64decode(content, validate=True))
    except (binascii.Error, ValueError, RecursionError):
        return None
    if not isinstance(parts, dict) or parts.get("v") != _VERSION:
        return None
    text, signature, data = (parts.get(name) for name in ("text", "signature", "data"))
    if isinstance(data, str):
        return RedactedThinking(data)
    return Thinking(text, signature) if isinstance(text, str) and isinstance(signature, str) else None
