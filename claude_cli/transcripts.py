"""Where the CLI keeps a conversation. We look if a file is there, or remove it; none is ever read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path


def transcript(environ: Mapping[str, str], cwd: Path, session_uuid: str) -> Path:
    """The transcript of a session whose process runs in `cwd` (resolved)."""
    config = environ.get("CLAUDE_CONFIG_DIR") or str(Path(environ.get("HOME", "~")).expanduser() / ".claude")
    slug = re.sub(r"[^A-Za-z0-9]", "-", str(cwd))
    return Path(config) / "projects" / slug / f"{session_uuid}.jsonl"
