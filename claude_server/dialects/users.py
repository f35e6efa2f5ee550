"""The fields in which OpenAI's clients name their users. Pure."""

from __future__ import annotations

import hashlib
import json

from claude_server.dialects.base import TurnBody

_FIELDS = ("user", "safety_identifier", "prompt_cache_key")


def user_hashes(request: TurnBody) -> dict[str, str]:
    """Hashes of the fields that identify a client's user, for the log."""
    given = {name: getattr(request, name, None) for name in _FIELDS}
    return {
        name: hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
        for name, value in given.items()
        if value is not None
    }
