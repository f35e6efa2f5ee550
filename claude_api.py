"""Use Claude from any OpenAI client, through the claude CLI that you are logged into.

python claude_api.py            serves http://127.0.0.1:8765
uvicorn --factory claude_api:create_app

This is a face: the room is claude_server/app/main.py.
"""

from __future__ import annotations

import sys

try:
    from claude_server.app.main import create_app, main
except ModuleNotFoundError as error:
    if __name__ != "__main__" or str(error.name).startswith("claude_server"):
        raise
    sys.exit(
        f"The package '{error.name}' is missing in this Python ({sys.executable}). Start the server with "
        f"`make serve`, which installs what it needs, or install it: {sys.executable} -m pip install -r "
        "requirements.txt"
    )

__all__ = ["create_app", "main"]

if __name__ == "__main__":
    sys.exit(main())
