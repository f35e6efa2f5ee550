"""The control API for other processes, under /_standin/, and answers described as JSON.

    GET    /_standin/requests?since=N   the kept requests with a number above N
    DELETE /_standin/requests           forget them
    PUT    /_standin/reply              from now on everything gets this answer
    DELETE /_standin/reply              back to the default answers
    POST   /_standin/reply              the next request gets this answer (a list: the next ones)
    GET    /_standin/stats              counters

A description has the fields of the dataclass of its kind: {"text": "hello", "delay": 0.1}, {"blocks":
[{"type": "text", "text": "hello"}, {"type": "tool_use", "name": "f", "input": {}}]}, {"error":
{"status": 529}}, {"cut": {"after": {"text": "hello"}, "chars": 2}}, {"silence": {"seconds": 5}},
{"stream_error": {"chars": 2}}.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

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
)

if TYPE_CHECKING:
    from claude_server.standin.app import StandInApp

__all__ = ["PREFIX", "answer_from_json", "handle", "request_as_json"]

PREFIX = "/_standin/"

_BLOCKS: Mapping[str, type] = {
    "text": Text,
    "thinking": Thinking,
    "redacted_thinking": RedactedThinking,
    "tool_use": ToolUse,
}
_KINDS: Mapping[str, type] = {"error": ApiError, "cut": Cut, "silence": Silence, "stream_error": StreamError}


def answer_from_json(value: Any) -> Answer:
    """An answer from its description (see the module). Raises ValueError with a sentence."""
    if isinstance(value, str):
        return Reply.of(value)
    if not isinstance(value, dict):
        raise ValueError("an answer is a string or an object")
    for key, kind in _KINDS.items():
        if key in value:
            if len(value) > 1 or not isinstance(value[key], dict):
                raise ValueError(f"{key!r} stands alone and holds an object")
            fields = dict(value[key])
            if "after" in fields:
                fields["after"] = _reply(fields["after"])
            made: Answer = _make(kind, fields)
            return made
    return _reply(value)


def _reply(value: Any) -> Reply:
    if isinstance(value, str):
        return Reply.of(value)
    if not isinstance(value, dict):
        raise ValueError("a reply is a string or an object")
    fields = dict(value)
    text = fields.pop("text", None)
    blocks = fields.pop("blocks", [])
    if (text is None) == (not blocks) or not isinstance(blocks, list):
        raise ValueError("a reply has either 'text' or 'blocks', a list")
    fields["blocks"] = [_block(b) for b in blocks] if text is None else [Text(str(text))]
    made: Reply = _make(Reply, fields)
    return made


def _block(value: Any) -> Block:
    if isinstance(value, str):
        return Text(value)
    kind = _BLOCKS.get(str(value.get("type"))) if isinstance(value, dict) else None
    if kind is None:
        raise ValueError(f"a block is a string or has one of these types: {', '.join(_BLOCKS)}")
    made: Block = _make(kind, {key: item for key, item in value.items() if key != "type"})
    return made


def _make(kind: type, fields: Mapping[str, Any]) -> Any:
    known = {field.name for field in dataclasses.fields(kind)}
    strange = sorted(set(fields) - known)
    if strange:
        raise ValueError(f"{kind.__name__} has no {', '.join(strange)}, but {', '.join(sorted(known))}")
    try:
        return kind(**fields)
    except TypeError as error:
        raise ValueError(f"{kind.__name__}: {error}") from None


def request_as_json(request: ApiRequest) -> dict[str, Any]:
    return {
        "number": request.number,
        "at": request.at,
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "headers": dict(request.headers),
        "bytes": len(request.raw),
        "body": request.body,
        "outcome": request.outcome,
        "usage": dataclasses.asdict(request.usage),
        "cache_hit": request.cache_hit,
    }


def handle(app: StandInApp, method: str, path: str, query: str, raw: bytes) -> tuple[int, bytes]:
    """One request to the control API: (status, JSON)."""
    try:
        status, value = _handle(app, method, path.removeprefix(PREFIX), query, raw)
    except ValueError as error:
        status, value = 400, {"error": str(error)}
    return status, json.dumps(value, separators=(",", ":")).encode()


def _handle(app: StandInApp, method: str, name: str, query: str, raw: bytes) -> tuple[int, Any]:
    if name == "requests" and method == "GET":
        since = int(parse_qs(query).get("since", ["0"])[0])
        return 200, [request_as_json(r) for r in app.log.snapshot() if r.number > since]
    if name == "requests" and method == "DELETE":
        app.log.clear()
        return 200, {}
    if name == "reply" and method == "PUT":
        answer = answer_from_json(json.loads(raw))
        app.responder = lambda request: answer
        return 200, {}
    if name == "reply" and method == "POST":
        described = json.loads(raw)
        answers = described if isinstance(described, list) else [described]
        app.push(*[answer_from_json(each) for each in answers])
        return 200, {"queued": len(app.queue)}
    if name == "reply" and method == "DELETE":
        app.queue.clear()
        app.responder = default_reply
        return 200, {}
    if name == "stats" and method == "GET":
        return 200, app.stats()
    return 404, {"error": f"there is no {method} {PREFIX}{name}"}
