"""Use Claude from any OpenAI client, through the claude CLI that you are logged into.

python claude_api.py            serves http://127.0.0.1:8765
uvicorn --factory claude_api:create_app

This is a face: the room is claude_server/app/main.py.
"""

from __future__ import annotations

import sys

from claude_server.app.main import create_app, main

__all__ = ["create_app", "main"]

if __name__ == "__main__":
    sys.exit(main())
