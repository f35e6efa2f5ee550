"""`check`: does a server answer rightly, endpoint by endpoint? It knows the server by its HTTP API only."""

from __future__ import annotations

import argparse
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from claude_server.command_line import program

SUMMARY = "ask each endpoint of a running server, and judge the answers"
_ERROR_KEYS = {"message", "type", "param", "code"}
_QUESTION = [{"role": "user", "content": "Answer with the one word: hello"}]


class CheckFailed(Exception):
    """An answer that isn't right; the text says what was expected and what came."""


class RateLimitHit(Exception):
    """A rate limit of the server is used up."""


class KeyRejected(Exception):
    """The server asks for a key, or for another one: nothing more can be learnt."""


@dataclass(frozen=True, slots=True)
class CheckClient:
    """Sends requests. `model`: the one that turns are asked of."""

    client: httpx.Client
    model: str
    keyed: bool

    def send(self, method: str, path: str, status: int, **options: Any) -> httpx.Response:
        """An answer with this status. Raises CheckFailed, RateLimitHit or KeyRejected."""
        answer = self.client.request(method, path, **options)
        if answer.status_code == 429 and status != 429 and "too_many_requests" in answer.text:
            raise RateLimitHit
        if answer.status_code == 401 != status:
            raise KeyRejected
        if answer.status_code != status:
            raise CheckFailed(f"status {answer.status_code} instead of {status}: {_short(answer.text)}")
        return answer

    def json(self, method: str, path: str, status: int = 200, **options: Any) -> dict[str, Any]:
        """The JSON object of such an answer."""
        answer = self.send(method, path, status, **options)
        try:
            found = answer.json()
        except ValueError:
            raise CheckFailed(f"no JSON: {_short(answer.text)}") from None
        if not isinstance(found, dict):
            raise CheckFailed(f"no JSON object: {_short(answer.text)}")
        return found

    def refused(self, method: str, path: str, status: int, **options: Any) -> dict[str, Any]:
        """The error of an answer that refuses, in the one shape that errors have."""
        error = self.json(method, path, status, **options).get("error")
        if not isinstance(error, dict) or not set(error) >= _ERROR_KEYS or not error["message"]:
            raise CheckFailed(f'no {{"error": {{"message", "type", "param", "code"}}}}: {error}')
        return error

    def chat(self, **more: Any) -> dict[str, Any]:
        """The body of a chat request."""
        return {"model": self.model, "messages": _QUESTION, **more}


def health(ask: CheckClient) -> str:
    body = ask.json("GET", "/health")
    if body.get("status") != "healthy":
        raise CheckFailed(f"{body.get('status')}: {(body.get('cli') or {}).get('problem')}")
    return str(body.get("service"))


def version(ask: CheckClient) -> str:
    body = ask.json("GET", "/version")
    _has(body, "version", "service", "api_version")
    return f"{body['service']} {body['version']}"


def keys(ask: CheckClient) -> str:
    if not ask.keyed:
        return "no key was given to check with"
    error = ask.refused("GET", "/v1/models", 401, headers={"authorization": ""})
    return f"asked for: {error['message']}"


def models(ask: CheckClient) -> str:
    listed = ask.json("GET", "/v1/models").get("data")
    if not isinstance(listed, list) or not listed:
        raise CheckFailed("the list is empty")
    one = ask.json("GET", f"/v1/models/{listed[0]['id']}")
    if one != listed[0]:
        raise CheckFailed(f"the model by itself is not the one of the list: {one}")
    ask.refused("GET", "/v1/models/no-such-model", 404)
    return f"{len(listed)} names"


def login(ask: CheckClient) -> str:
    found = ask.json("GET", "/v1/auth/status")["claude_code_auth"]["status"]
    if not found["valid"]:
        raise CheckFailed("; ".join(found["errors"]))
    return str(found["method"])


def refusals(ask: CheckClient) -> str:
    path = "/v1/chat/completions"
    ask.refused("POST", path, 400, json={})
    ask.refused("POST", path, 400, content=b"{not json", headers={"content-type": "application/json"})
    ask.refused("GET", path, 405)
    ask.refused("GET", "/v1/no-such-path", 404)
    return "in the one shape"


def request_ids(ask: CheckClient) -> str:
    sent = f"check-{uuid.uuid4()}"
    answer = ask.send("GET", "/version", 200, headers={"x-request-id": sent})
    if answer.headers.get("x-request-id") != sent:
        raise CheckFailed(f"'{answer.headers.get('x-request-id')}' instead of the one that was sent")
    return "come back"


def finding_out(ask: CheckClient) -> str:
    report = ask.json("POST", "/v1/compatibility", json=ask.chat(seed=1))["compatibility_report"]
    if "messages" not in report["supported_parameters"]:
        raise CheckFailed(f"'messages' is not supported: {report}")
    secret = {"x-api-secret": "not-to-be-shown"}
    debug = ask.json("POST", "/v1/debug/request", json=ask.chat(), headers=secret)["debug_info"]
    if not debug["validation_result"]["valid"]:
        raise CheckFailed(f"a good request is called a bad one: {debug['validation_result']}")
    if "not-to-be-shown" in json.dumps(debug):
        raise CheckFailed("a header that may be a secret is repeated")
    return "a request is explained"


def pages(ask: CheckClient) -> str:
    for path in ("/", "/docs"):
        page = ask.send("GET", path, 200)
        if not page.headers.get("content-type", "").startswith("text/html"):
            raise CheckFailed(f"{path} is no page: {page.headers.get('content-type')}")
    paths = ask.json("GET", "/openapi.json").get("paths", {})
    if "/v1/chat/completions" not in paths:
        raise CheckFailed("/openapi.json doesn't know /v1/chat/completions")
    return f"{len(paths)} paths are described"


def whole_chat(ask: CheckClient) -> str:
    body = ask.json("POST", "/v1/chat/completions", json=ask.chat())
    return _said(body)


def streamed_chat(ask: CheckClient) -> str:
    options = ask.chat(stream=True, stream_options={"include_usage": True})
    answer = ask.send("POST", "/v1/chat/completions", 200, json=options)
    if not answer.headers.get("content-type", "").startswith("text/event-stream"):
        raise CheckFailed(f"no event stream: {answer.headers.get('content-type')}")
    data = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    if data[-1:] != ["[DONE]"]:
        raise CheckFailed(f"the stream doesn't end with [DONE]: {_short(''.join(data[-1:]))}")
    chunks = [json.loads(item) for item in data[:-1]]
    if failed := [chunk["error"] for chunk in chunks if "error" in chunk]:
        raise CheckFailed(f"an error in the stream: {failed[0]}")
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    ends = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    if not text or ends != ["stop"] or choices[0]["delta"].get("role") != "assistant":
        raise CheckFailed(f"text {_short(text)!r}, ends {ends}, first delta {choices[0]['delta']}")
    if not chunks[-1].get("usage"):
        raise CheckFailed("no usage in the last chunk, though it was asked for")
    return f"{len(chunks)} chunks: {_short(text)}"


def session(ask: CheckClient) -> str:
    name = f"check/{uuid.uuid4()}"
    path = f"/v1/sessions/{name}"
    try:
        for wanted in ("created", "resumed"):
            options = ask.chat(session_id=name)
            answer = ask.send("POST", "/v1/chat/completions", 200, json=options)
            if answer.headers.get("x-claude-session") != wanted:
                raise CheckFailed(
                    f"x-claude-session is {answer.headers.get('x-claude-session')}, not {wanted}"
                )
        found = ask.json("GET", path)
        if (found["session_id"], found["message_count"]) != (name, 4):
            raise CheckFailed(f"not the session with 4 messages: {found}")
        if name not in [one["session_id"] for one in ask.json("GET", "/v1/sessions")["sessions"]]:
            raise CheckFailed("the session is not listed")
        _has(ask.json("GET", "/v1/sessions/stats")["session_stats"], "active_sessions", "total_messages")
    finally:
        ask.client.delete(path)
    ask.refused("GET", path, 404)
    return "created, resumed, listed and deleted"


# What each line is called, and whether the check has the model answer.
CHECKS: tuple[tuple[str, Callable[[CheckClient], str], bool], ...] = (
    ("GET /health", health, False),
    ("GET /version", version, False),
    ("API keys", keys, False),
    ("GET /v1/models", models, False),
    ("GET /v1/auth/status", login, False),
    ("errors", refusals, False),
    ("request ids", request_ids, False),
    ("POST /v1/compatibility, /v1/debug/request", finding_out, False),
    ("GET /, /docs, /openapi.json", pages, False),
    ("POST /v1/chat/completions", whole_chat, True),
    ("POST /v1/chat/completions, streamed", streamed_chat, True),
    ("/v1/sessions", session, True),
)


def main(argv: Sequence[str]) -> int:
    """The exit status: 0 if every answer is right."""
    parser = argparse.ArgumentParser(prog=f"{program()} check", description=SUMMARY)
    parser.add_argument("--base-url", default="http://127.0.0.1:8765", help="with or without /v1")
    parser.add_argument("--key", help="the API key to send")
    parser.add_argument("--model", default="default", help="the model that is asked (default: %(default)s)")
    parser.add_argument("--no-turns", action="store_true", help="leave out what costs tokens (four turns)")
    parser.add_argument("--timeout", type=float, default=120.0, help="longest wait for an answer, seconds")
    options = parser.parse_args(list(argv))
    base = options.base_url.rstrip("/").removesuffix("/v1")
    headers = {"authorization": f"Bearer {options.key}"} if options.key else {}
    if not base.startswith(("http://", "https://")):
        parser.error(f"--base-url {options.base_url}: an address looks like http://127.0.0.1:8765")
    with httpx.Client(base_url=base, headers=headers, timeout=options.timeout) as client:
        ask = CheckClient(client, options.model, bool(options.key))
        return _run(ask, turns=not options.no_turns)


def _run(ask: CheckClient, *, turns: bool) -> int:
    failed = skipped = 0
    chosen = [(name, check) for name, check, costs in CHECKS if turns or not costs]
    width = max(len(name) for name, _ in chosen)
    for name, check in chosen:
        try:
            verdict, detail = "ok", check(ask)
        except RateLimitHit:
            verdict, detail = "skip", "a rate limit of the server is used up; try again in a minute"
        except CheckFailed as error:
            verdict, detail = "FAIL", str(error)
        except KeyRejected:
            told = "doesn't take this key" if ask.keyed else "asks for a key: give one with --key"
            print(f"FAIL  {ask.client.base_url} {told}")
            return 1
        except httpx.ConnectError as error:
            print(f"FAIL  nothing answers at {ask.client.base_url}: {error}")
            return 1
        except httpx.HTTPError as error:
            verdict, detail = "FAIL", f"no answer: {error or type(error).__name__}"
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            # JSON of another shape than the one that was read.
            verdict, detail = "FAIL", f"the answer has another shape: {error!r}"
        failed += verdict == "FAIL"
        skipped += verdict == "skip"
        print(f"{verdict:4}  {name:{width}}  {detail}", flush=True)
    right = len(chosen) - failed - skipped
    rest = f", {skipped} skipped" if skipped else ""
    print("All is right." if right == len(chosen) else f"{right} of {len(chosen)} are right{rest}.")
    return 1 if failed else 0


def _said(body: dict[str, Any]) -> str:
    """What a whole answer says; Wrong if it isn't as OpenAI's."""
    _has(body, "id", "object", "created", "model", "choices", "usage")
    (choice,) = body["choices"]
    text = choice["message"]["content"]
    if body["object"] != "chat.completion" or choice["message"]["role"] != "assistant":
        raise CheckFailed(f"no chat completion: {_short(json.dumps(body))}")
    if not text or choice["finish_reason"] != "stop":
        raise CheckFailed(f"text {text!r}, finish_reason {choice['finish_reason']}")
    usage = body["usage"]
    if usage["prompt_tokens"] + usage["completion_tokens"] != usage["total_tokens"]:
        raise CheckFailed(f"token counts that don't add up: {usage}")
    return _short(text)


def _has(body: dict[str, Any], *names: str) -> None:
    if missing := [name for name in names if name not in body]:
        raise CheckFailed(f"without {', '.join(missing)}: {_short(json.dumps(body))}")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 120 else line[:117] + "..."
