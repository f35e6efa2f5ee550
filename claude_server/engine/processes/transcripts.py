"""Where the CLI keeps a conversation, and what a killed process leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from claude_server.core.errors import SessionLost, StateFailed

# Bytes: an answer, and what the CLI notes after it.
_TAIL = 1024 * 1024
# Fields of a transcript's line that are the same in all lines of a session.
_SAME_IN_A_SESSION = ("isSidechain", "userType", "entrypoint", "cwd", "sessionId", "version", "gitBranch")
# What the CLI says when the event to resume at is not on the branch that it resumes.
RESUME_POINT_HIDDEN = "No message found with message.uuid"


def config_dir(environ: Mapping[str, str]) -> Path:
    """The CLI's own folder."""
    return Path(environ.get("CLAUDE_CONFIG_DIR") or Path(environ.get("HOME", "~")).expanduser() / ".claude")


def config_file(environ: Mapping[str, str]) -> Path:
    """The CLI's own file, beside which it writes its next content before it exchanges the two."""
    folder = environ.get("CLAUDE_CONFIG_DIR") or Path(environ.get("HOME", "~")).expanduser()
    return Path(folder) / ".claude.json"


def transcript(config: Path, cwd: Path, session_uuid: str) -> Path:
    """The transcript of a session whose process runs in `cwd` (resolved)."""
    slug = re.sub(r"[^A-Za-z0-9]", "-", str(cwd))
    return config / "projects" / slug / f"{session_uuid}.jsonl"


def contains_event(path: Path, mark: str) -> bool:
    """Is the transcript there, with the event `mark` among its last ("": any)? On a full disk it isn't."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            return mark.encode() in file.read()
    except OSError:
        return False


def set_aside(path: Path) -> None:
    """Make room for a conversation of the same name: what is there is kept beside it, the last one only."""
    if path.exists():
        path.replace(path.with_suffix(".jsonl.old"))


def erase(config: Path, cwd: Path, session_uuid: str) -> bool:
    """Remove all that bears the session's name: its transcript, those that were set aside, and what the CLI
    keeps beside them for tools. Was there anything? Raises OSError."""
    beside = transcript(config, cwd, session_uuid).parent
    found = [*beside.glob(f"{session_uuid}*"), *config.glob(f"*/{session_uuid}*")]
    for path in found:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return bool(found)


def check_unbroken(path: Path, session_uuid: str, mark: str) -> None:
    """Is all there that the event `mark` follows from? A transcript that isn't there is the CLI's to report.

    A disk that was full for a while leaves holes, and the CLI resumes at what hangs together behind them,
    without a word. Raises SessionLost. Blocks for some milliseconds a megabyte.
    """
    if not path.exists():
        return
    parents: dict[object, object] = {}
    try:
        with path.open("rb") as file:
            for line in file:
                event = _parsed(line)
                if isinstance(event, dict) and isinstance(event.get("uuid"), str):
                    parents[event["uuid"]] = event.get("parentUuid")
    except OSError as error:
        raise SessionLost(f"The transcript of session {session_uuid} can't be used: {error}") from error
    event_id: object = mark
    while event_id is not None:
        if event_id not in parents:
            raise SessionLost(
                f"The transcript of session {session_uuid} has lost a part of the conversation."
            )
        # Taken out, so that a chain that bites its tail ends too.
        event_id = parents.pop(event_id)


def _parsed(line: bytes) -> object:
    """A line's JSON; None for a line that a killed process left half written."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def set_resume_point(path: Path, session_uuid: str, mark: str) -> None:
    """Make the event `mark` the end of the conversation that a resume reads.

    Newer CLIs note it themselves when they end by themselves, not when they are killed: after a goodbye (of a
    process whose server was killed, where nothing kills it along) and a kill, the note is old and hides the
    last turn. Raises SessionLost if the transcript doesn't hold the event.
    """
    try:
        content = path.read_bytes()
        if mark.encode() not in content:
            raise SessionLost(f"The transcript of session {session_uuid} doesn't hold its last answer.")
        note = {"type": "last-prompt", "leafUuid": mark, "sessionId": session_uuid}
        with path.open("a", encoding="ascii") as file:
            # A process killed while it wrote may have left half a line.
            file.write("" if content.endswith(b"\n") else "\n")
            file.write(json.dumps(note, separators=(",", ":")) + "\n")
    except OSError as error:
        raise SessionLost(f"The transcript of session {session_uuid} can't be used: {error}") from error


def put_results(path: Path, session_uuid: str, mark: str, results: Mapping[str, Any]) -> str:
    """Write the results of the calls that end at the event `mark` right after it, in place of what is there,
    and return their event's id. `results` is the message that holds them; the next question holds them too.

    All that is there is what an interrupt, or a turn that failed, said of these calls, and of two results for
    one call the CLI keeps the first. Older CLIs drop a call without a result when they read a transcript,
    before they look for the event to resume at. Raises SessionLost, StateFailed.
    """
    try:
        with path.open("r+b") as file:
            event, end = _find(file, mark)
            if event is None:
                raise SessionLost(f"The transcript of session {session_uuid} doesn't hold its last answer.")
            row = {name: event[name] for name in _SAME_IN_A_SESSION if name in event}
            row |= {"parentUuid": mark, "type": "user", "message": results, "uuid": str(uuid.uuid4())}
            row["timestamp"] = datetime.now(timezone.utc).isoformat(timespec="milliseconds")[:-6] + "Z"
            file.seek(end)
            file.truncate()
            file.write(json.dumps(row, separators=(",", ":")).encode("ascii") + b"\n")
    except FileNotFoundError as error:
        raise SessionLost(f"The transcript of session {session_uuid} is gone.") from error
    except OSError as error:
        raise StateFailed(f"The session's transcript can't be written: {error}.") from error
    return str(row["uuid"])


def _find(lines: Iterable[bytes], mark: str) -> tuple[dict[str, Any] | None, int]:
    """The event `mark`, and where its line ends."""
    end = 0
    for line in lines:
        end += len(line)
        # Parsed only where it can be the one: a transcript may be large.
        event = _parsed(line) if mark.encode() in line and line.endswith(b"\n") else None
        if isinstance(event, dict) and event.get("uuid") == mark:
            return event, end
    return None, end


def remove_snapshots(config: Path, mark: str) -> None:
    """Remove the shell snapshots that have `mark` near their end, not those of anybody else's CLI. Raises
    OSError. Blocks for some 30 us a snapshot."""
    for path in (config / "shell-snapshots").glob("snapshot-*.sh"):
        if contains_event(path, mark):
            path.unlink(missing_ok=True)


def remove_traces(config: Path, config_file: Path, pid: int) -> None:
    """Remove what a process takes away when it ends by itself, if that can be done: its name on the CLI's
    list, and a new `config_file` that it had not yet put in the place of the old one."""
    sessions = config / "sessions"
    half_written = config_file.parent.glob(f"{config_file.name}.tmp.{pid}.*")
    for path in (sessions / f"{pid}.json", *sessions.glob(f"{pid}.*.key"), *half_written):
        with contextlib.suppress(OSError):
            path.unlink()
