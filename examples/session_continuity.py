"""A conversation that the server keeps: go on with it, stream it, look at it, delete it.

    python examples/session_continuity.py --base-url http://127.0.0.1:8765/v1 --api-key KEY

The key is only looked at if the server asks for one; API_KEY in the environment does as well.
"""

from __future__ import annotations

import argparse
import os
import sys
import uuid
from typing import Any

import openai
from openai import OpenAI


def ask(client: OpenAI, text: str, session_id: str | None = None) -> str:
    """One message and its answer. `session_id` is an extension, so it goes into `extra_body`."""
    answer = client.chat.completions.create(
        model="default",
        messages=[{"role": "user", "content": text}],
        extra_body={} if session_id is None else {"session_id": session_id},
    )
    return answer.choices[0].message.content or ""


def stream(client: OpenAI, text: str, session_id: str) -> str:
    """The same, as it is being written."""
    chunks = client.chat.completions.create(
        model="default",
        messages=[{"role": "user", "content": text}],
        extra_body={"session_id": session_id},
        stream=True,
    )
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def look(client: OpenAI, path: str) -> dict[str, Any]:
    """One of the endpoints that OpenAI hasn't got."""
    return client.get(path, cast_to=dict[str, Any])


def show(client: OpenAI) -> None:
    session_id = f"learning-{uuid.uuid4()}"
    print("A session:")
    print(" ", ask(client, "Hello! My name is Alice and I'm learning Python.", session_id))
    print(" ", ask(client, "What's my name?", session_id))
    print("The same, streamed:")
    print(" ", stream(client, "And once more: what's my name?", session_id))
    print("Without the session:")
    print(" ", ask(client, "What's my name?"))

    found = look(client, f"/sessions/{session_id}")
    print(f"{found['message_count']} messages, expires at {found['expires_at']}")
    listed = look(client, "/sessions")
    print(f"{listed['total']} in the list")
    print(f"{look(client, '/sessions/stats')['session_stats']['active_sessions']} active")
    print(client.delete(f"/sessions/{session_id}", cast_to=dict[str, Any])["message"])
    print("After that:")
    print(" ", ask(client, "What's my name?", session_id))
    client.delete(f"/sessions/{session_id}", cast_to=dict[str, Any])


def main() -> int:
    parser = argparse.ArgumentParser(description="A conversation that the server keeps.")
    parser.add_argument("--base-url", default="http://127.0.0.1:8765/v1", metavar="URL")
    parser.add_argument("--api-key", default=os.environ.get("API_KEY") or "not-used", metavar="KEY")
    options = parser.parse_args()
    try:
        show(OpenAI(base_url=options.base_url, api_key=options.api_key))
    except openai.APIError as error:
        print(f"{options.base_url}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
