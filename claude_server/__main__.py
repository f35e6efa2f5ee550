"""`python -m claude_server`: the same as `claude-api`."""

from __future__ import annotations

import sys

from claude_server.app.main import main

if __name__ == "__main__":
    sys.exit(main())
