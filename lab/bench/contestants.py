"""Who is asked: the stand-in itself, our server, and a claude process per request."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import httpcore
import psutil

from lab.bench import programs
from lab.bench.load import Answer, AskFailed
from lab.bench.programs import Server
from lab.bench.stats import Cpu
from lab.bench.workloads import MODEL, SYSTEM, Turn

# Allowed connections; more clients than that are never run.
_CONNECTIONS = 64


class Contestant(Protocol):
    """`cpu`: so far; `workers`: the CLI processes that are up."""

    async def ask(self, turn: Turn, stream: bool) -> Answer: ...

    def cpu(self) -> Cpu: ...

    def workers(self) -> Sequence[psutil.Process]: ...


class Http:
    """Posts JSON and reads the answer. httpx's transport without httpx: what the load generator takes itself
    counts against whoever is asked by HTTP, and the bare loop isn't."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS
        )

    async def close(self) -> None:
        await self._pool.aclose()

    @contextlib.asynccontextmanager
    async def post(
        self, path: str, body: Any, headers: Mapping[str, str]
    ) -> AsyncIterator[httpcore.Response]:
        """The answer, not yet read. Raises AskFailed, also for what goes wrong while it is read."""
        host = self._url.partition("://")[2]
        sent = {"host": host, "content-type": "application/json", **headers}
        limits = dict.fromkeys(("connect", "read", "write", "pool"), programs.READY_WITHIN)
        try:
            async with self._pool.stream(
                "POST",
                self._url + path,
                headers=list(sent.items()),
                content=json.dumps(body).encode(),
                extensions={"timeout": limits},
            ) as answer:
                if answer.status != 200:
                    raise AskFailed(f"{answer.status} {(await answer.aread())[:200]!r}")
                yield answer
        except (
            httpcore.NetworkError,
            httpcore.ProtocolError,
            httpcore.TimeoutException,
            ValueError,
        ) as error:
            raise AskFailed(repr(error)) from None


def messages(turn: Turn) -> list[dict[str, str]]:
    """The turn in the form that both HTTP APIs have."""
    result = []
    for question, answer in turn.history:
        result.append({"role": "user", "content": question})
        result.append({"role": "assistant", "content": answer})
    return [*result, {"role": "user", "content": turn.question}]


class Floor:
    """The stand-in, called as the Messages API: what an answer takes with nothing in between."""

    def __init__(self, url: str) -> None:
        self._http = Http(url)

    async def close(self) -> None:
        await self._http.close()

    def cpu(self) -> Cpu:
        return Cpu()

    def workers(self) -> Sequence[psutil.Process]:
        return ()

    async def ask(self, turn: Turn, stream: bool) -> Answer:
        body = {
            "model": MODEL,
            "max_tokens": 32_000,
            "system": SYSTEM,
            "messages": messages(turn),
            "stream": stream,
        }
        return await _post(self._http, "/v1/messages", body, {"x-api-key": "made-up"}, stream, _anthropic)


class Ours:
    """The server's chat completions."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._http = Http(server.url)

    async def close(self) -> None:
        await self._http.close()

    def cpu(self) -> Cpu:
        return self._server.cpu()

    def workers(self) -> Sequence[psutil.Process]:
        return self._server.workers()

    async def ask(self, turn: Turn, stream: bool) -> Answer:
        body = chat_body(turn, stream)
        return await _post(self._http, "/v1/chat/completions", body, {}, stream, _openai)

    async def complete(self, turn: Turn) -> dict[str, Any]:
        """The whole answer's JSON. Raises AskFailed."""
        async with self._http.post("/v1/chat/completions", chat_body(turn, False), {}) as got:
            answer: dict[str, Any] = json.loads(await got.aread())
            return answer


def chat_body(turn: Turn, stream: bool) -> dict[str, Any]:
    """A request to our server."""
    asked = [{"role": "system", "content": SYSTEM}, *messages(turn)]
    return {"model": MODEL, "messages": asked, "stream": stream}


def _anthropic(value: Mapping[str, Any]) -> str:
    """The text in a streamed event, or in a whole answer, of the Messages API."""
    if "content" in value:
        return "".join(block.get("text", "") for block in value["content"])
    return str(value.get("delta", {}).get("text", "")) if value.get("type") == "content_block_delta" else ""


def _openai(value: Mapping[str, Any]) -> str:
    """The same of chat completions."""
    if not value.get("choices"):
        return ""
    choice = value["choices"][0]
    return str((choice.get("delta") or choice.get("message") or {}).get("content") or "")


async def _post(
    http: Http, path: str, body: Any, headers: Mapping[str, str], stream: bool, text_of: Any
) -> Answer:
    async with http.post(path, body, headers) as answer:
        if stream:
            return await _read(answer, text_of)
        whole = await answer.aread()
        first = time.perf_counter()
        return Answer(text_of(json.loads(whole)), first)


async def _read(answer: httpcore.Response, text_of: Any) -> Answer:
    """Server-sent events; the first one with text is the first token."""
    first, texts, rest = 0.0, [], b""
    async for piece in answer.aiter_stream():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data: {") and (text := text_of(json.loads(line[6:]))):
                first = first or time.perf_counter()
                texts.append(text)
    if not texts:
        raise AskFailed("an answer without text")
    return Answer("".join(texts), first)


# What keeps a CLI on loopback, and from asking twice.
QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLAUDE_CODE_MAX_RETRIES": "0",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
}
LEAN_ENVIRONMENT = {
    **QUIET,
    "CLAUDE_CODE_DISABLE_ATTACHMENTS": "1",
    "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK": "1",
    "CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS": "1",
    "DISABLE_AUTO_COMPACT": "1",
    "ENABLE_TOOL_SEARCH": "false",
}
LEAN_ARGUMENTS = (
    *("--tools", "", "--setting-sources", "", "--strict-mcp-config", "--disable-slash-commands"),
    *("--disallowedTools", "Read(//**)", "--permission-mode", "dontAsk", "--no-session-persistence"),
    *("--model", MODEL),
)


class PerRequest:
    """One plain `claude -p --output-format json` a request, as CLI2API does, `limit` at a time.

    lean: with the command line and environment of our own workers; else with the CLI's defaults, which send
    its own system prompt and tools. The earlier turns are written out as one text.
    """

    def __init__(self, cli: str, env: Mapping[str, str], folder: Path, limit: int, *, lean: bool) -> None:
        arguments = ("--system-prompt", SYSTEM, *LEAN_ARGUMENTS) if lean else ("--model", MODEL)
        self._argv = [cli, "-p", "--output-format", "json", *arguments]
        self._env = {**env, **(LEAN_ENVIRONMENT if lean else QUIET)}
        self._folder = folder
        self._slots = asyncio.Semaphore(limit)

    async def close(self) -> None:
        pass

    def cpu(self) -> Cpu:
        # Of all our children that ended: nothing else ends while this one is measured.
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return Cpu(0.0, ended.ru_utime + ended.ru_stime)

    def workers(self) -> Sequence[psutil.Process]:
        return ()

    async def ask(self, turn: Turn, stream: bool) -> Answer:
        async with self._slots:
            process = await programs.spawn(self._argv, self._env, self._folder)
            try:
                out, _ = await process.communicate(as_text(turn).encode())
            finally:
                if process.returncode is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    await process.wait()
        now = time.perf_counter()
        try:
            return Answer(str(json.loads(out)["result"]), now)
        except (ValueError, KeyError, TypeError):
            raise AskFailed(f"exit status {process.returncode}") from None


def as_text(turn: Turn) -> str:
    """A conversation as one text, for a CLI that is only given one."""
    if not turn.history:
        return turn.question
    said = [f"User: {question}\n\nAssistant: {answer}" for question, answer in turn.history]
    return "\n\n".join([*said, f"User: {turn.question}", "Assistant:"])
