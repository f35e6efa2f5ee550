"""The self-test: finds out an installed CLI's abilities by what reaches a stand-in API on loopback.

Acknowledgements are not believed: a CLI may accept a control message and do something else. Each check has a
config folder of its own, a made-up key and no network.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, fields, replace
from pathlib import Path

import structlog

from claude_server.core.errors import CliFailed, TurnError, TurnTimeout
from claude_server.core.model import Message, RedactedThinking, Thinking, Tool
from claude_server.engine.discovery import transcript_check
from claude_server.engine.discovery.bodies import messages, notes
from claude_server.engine.discovery.counting_check import counts_tokens
from claude_server.engine.discovery.sandbox import sandbox
from claude_server.engine.discovery.waiting_check import WaitingCheck
from claude_server.engine.processes.argv import SIMPLE, Launch
from claude_server.engine.processes.binary_cache import BinaryCache
from claude_server.engine.processes.process import CliProcess
from claude_server.engine.processes.step_runner import StepRunner
from claude_server.engine.processes.table import ProcessTable
from claude_server.engine.protocol import control, frames
from claude_server.engine.protocol.control import Expect, Step, conversation, initialize
from claude_server.engine.workers import state
from claude_server.engine.workers.state import FIRST_SERVER, Abilities, WorkerConfig, WorkerState
from claude_server.engine.workers.worker import monotonic
from claude_server.standin import ApiError, ApiRequest, Reply, StandIn, ToolUse
from claude_server.standin.signatures import fresh_data, sign

log = structlog.get_logger("claude_cli")

# Seconds that a step may take: many times what the process took to greet us, within these bounds.
_SHORTEST_LIMIT = 10.0
_LONGEST_LIMIT = 60.0
_GREETINGS_PER_STEP = 20
# A disturbed check says nothing about the CLI, and the results are cached for good: so it is repeated.
_MAX_TRIES = 3
# Exit statuses of setpriv when it can't run the CLI.
_LAUNCHER_FAILED = (126, 127)
# A check is mostly the start of its process, which keeps a core busy.
_PARALLEL_CHECKS = 2
_BASE_PROMPT = "selftest base prompt"
# Neither an alias nor a model id that an alias stands for.
_UNLISTED_MODEL = "claude-selftest-1"
# Checks whose process is started in a way of its own.
_LAUNCHES = {
    "custom_model": Launch(custom_model=_UNLISTED_MODEL),
    "simple": Launch(flags=((SIMPLE, "1"),)),
    "transcripts": transcript_check.LAUNCH,
    "simple_transcripts": replace(transcript_check.LAUNCH, flags=((SIMPLE, "1"),)),
}


def _tool(name: str, argument: str = "x") -> Tool:
    schema = {"type": "object", "properties": {argument: {"type": "string"}}}
    return Tool(name, f"selftest {name}", json.dumps(schema))


# One of them is named like a tool of the CLI's own.
_OFFERED_TOOLS = (_tool("Bash"), _tool("selftest"))


def step_limit(greeting: float) -> float:
    """Seconds that a step may take where a process took `greeting` seconds to start and to greet us."""
    return min(_LONGEST_LIMIT, max(_SHORTEST_LIMIT, _GREETINGS_PER_STEP * greeting))


class SelfTest:
    """Runs checks on one binary, one after the other, each on a process of its own."""

    def __init__(self, table: ProcessTable, api: StandIn) -> None:
        self._table = table
        self._api = api
        # Did every check end undisturbed?
        self.conclusive = True
        self._disturbed = False
        # Seconds for a step; None until a process has greeted us.
        self._measured: float | None = None
        # Did no process greet us in the longest time there is?
        self._silent = False

    async def run(self, names: Iterator[str]) -> dict[str, bool]:
        """Run the named checks. Several SelfTests may share the iterator."""
        return {name: await self._check(name, self.checks[name]) for name in names}

    @property
    def checks(self) -> Mapping[str, Callable[[StepRunner], Awaitable[bool]]]:
        """The checks by name, mostly names of abilities."""
        return {
            "stream_json": self._stream_json,
            "literal_slash": self._literal_slash,
            "single_400": self._single_400,
            "inject": self._inject,
            "empty": self._empty,
            "set_model": self._set_model,
            "set_system": self._set_system,
            "set_flags": self._set_flags,
            "probes_models": self._probes_models,
            "custom_model": self._custom_model,
            "tools": self._tools,
            "swap_tools": self._swap_tools,
            "extra_body": self._extra_body,
            "tools_in_body": self._tools_in_body,
            "cache_ttl": self._cache_ttl,
            "simple": self._simple,
            "stable_prefix": self._stable_prefix,
            "transcripts": self._transcripts,
            "simple_transcripts": self._transcripts,
            "counts_tokens": self._counts_tokens,
            "thoughts": self._thoughts,
            "waits": lambda runner: self._waiting(runner).waits(),
            "keeps_thinking": lambda runner: self._waiting(runner).keeps_thinking(),
            "large_results": lambda runner: self._waiting(runner).large_results(),
        }

    async def _check(self, name: str, check: Callable[[StepRunner], Awaitable[bool]]) -> bool:
        found = False
        for _ in range(_MAX_TRIES):
            if self._silent:
                break
            self._disturbed = False
            found = await self._check_once(name, check)
            if not self._disturbed:
                return found
        self.conclusive = False
        return found

    async def _check_once(self, name: str, check: Callable[[StepRunner], Awaitable[bool]]) -> bool:
        self._api.reset()
        launch = _LAUNCHES.get(name, Launch())
        process: CliProcess | None = None
        try:
            process = await self._table.start(launch)
            runner = StepRunner(process)
            await self._greet(runner, FIRST_SERVER if name == "tools" else None)
            return await check(runner)
        except TurnError as error:
            log.debug("self-test check failed", check=name, problem=error.message)
            # Not started, slow, killed, or talked into: nothing of that is the CLI's doing.
            code = process.returncode if process is not None and process.ended else 0
            killed = process is None or code is None or code < 0 or code in _LAUNCHER_FAILED
            self._disturbed = isinstance(error, TurnTimeout) or killed
            return False
        finally:
            if process is not None:
                self._table.retire(process, now=True)

    @property
    def _limit(self) -> float:
        return _LONGEST_LIMIT if self._measured is None else self._measured

    async def _greet(self, runner: StepRunner, server: str | None) -> None:
        """Have the process say that it is there. The first one's time tells how slow the machine is."""
        began = monotonic()
        try:
            await runner.run([initialize(_BASE_PROMPT, server)], self._limit, _OFFERED_TOOLS)
        except TurnTimeout:
            self._silent = self._measured is None
            raise
        if self._measured is None:
            self._measured = step_limit(monotonic() - began)

    def _last(self) -> ApiRequest:
        if not self._api.turns:
            raise CliFailed("nothing reached the API")
        return self._api.last

    async def _ask(self, runner: StepRunner, text: str, tools: Sequence[Tool] = ()) -> ApiRequest:
        """Empty the conversation, ask, and return the API request that came of it."""
        (question,) = conversation((), Message("user", (text,)))
        await runner.run([Step((frames.boundary(), *question.frames), Expect.TURN)], self._limit, tools)
        return self._last()

    async def _stream_json(self, runner: StepRunner) -> bool:
        await runner.run(conversation((), Message("user", ("selftest one",))), self._limit)
        seen = self._last()
        return seen.conversation == [("user", "selftest one")] and seen.system_texts[-1] == _BASE_PROMPT

    async def _literal_slash(self, runner: StepRunner) -> bool:
        await runner.run(conversation((), Message("user", ("/clear @/etc/hostname",))), self._limit)
        return self._last().conversation == [("user", " /clear @/etc/hostname")]

    async def _single_400(self, runner: StepRunner) -> bool:
        self._api.push(*[ApiError.bad_request("selftest refusal")] * 5)
        with contextlib.suppress(TurnError):
            await runner.run(conversation((), Message("user", ("selftest",))), self._limit)
        return len(self._api.turns) == 1

    async def _transcripts(self, runner: StepRunner) -> bool:
        return await transcript_check.goes_on(runner, self._api, self._limit)

    def _waiting(self, runner: StepRunner) -> WaitingCheck:
        return WaitingCheck(runner, self._api, self._limit)

    async def _counts_tokens(self, runner: StepRunner) -> bool:
        return await counts_tokens(runner, self._api, self._limit)

    async def _inject(self, runner: StepRunner) -> bool:
        history = (Message("user", ("/one",)), Message("assistant", ("two",)))
        await runner.run(conversation(history, Message("user", ("three",))), self._limit)
        expected = [("user", " /one"), ("assistant", "two"), ("user", "three")]
        return self._last().conversation == expected and len(self._api.turns) == 1

    async def _empty(self, runner: StepRunner) -> bool:
        await runner.run(conversation((), Message("user", ("selftest before",))), self._limit)
        after = await self._ask(runner, "selftest after")
        return after.conversation == [("user", "selftest after")] and b"selftest before" not in after.raw

    async def _set_model(self, runner: StepRunner) -> bool:
        return await self._switches(runner, (_BASE_PROMPT, _BASE_PROMPT, _BASE_PROMPT), with_prompt=False)

    async def _set_system(self, runner: StepRunner) -> bool:
        return await self._switches(
            runner, ("first prompt", "second prompt", "third prompt"), with_prompt=True
        )

    async def _switches(self, runner: StepRunner, prompts: Sequence[str], *, with_prompt: bool) -> bool:
        """To a model, back to the default, and to it again; each time the request must hold the prompt that
        was `told` (or the first one), the question, and nothing else."""
        for model, prompt in zip(("haiku", None, "haiku"), prompts, strict=True):
            named = {"model": model} if model else {}
            prompted = {"system_prompt": prompt} if with_prompt else {}
            request = control.control("set_model", **named, **prompted)
            await runner.run([Step((frames.boundary(), request), Expect.ACKS)], self._limit)
            seen = await self._ask(runner, "selftest question")
            if seen.conversation != [("user", "selftest question")] or seen.system_texts[-1] != prompt:
                return False
            if with_prompt and _BASE_PROMPT.encode() in seen.raw:
                return False
        first, default, again = (turn.model for turn in self._api.turns)
        return first == again != default

    async def _set_flags(self, runner: StepRunner) -> bool:
        limits = []
        for limit in (None, 777, None):
            await runner.run(
                [Step((state.flags(WorkerConfig(max_output_tokens=limit)),), Expect.ACKS)],
                self._limit,
            )
            limits.append((await self._ask(runner, "selftest")).body.get("max_tokens"))
        return limits[1] == 777 and limits[0] == limits[2] != 777

    async def _probes_models(self, runner: StepRunner) -> bool:
        return await self._extra_request(runner)

    async def _custom_model(self, runner: StepRunner) -> bool:
        return not await self._extra_request(runner)

    async def _tools(self, runner: StepRunner) -> bool:
        """As a process gets them that can't be given any later; two at a time, one of them named like the
        CLI's own. What the CLI does after the call it does at once, if it does."""
        self._api.push(Reply.of("so", *(ToolUse(tool.name, {"x": "1"}) for tool in _OFFERED_TOOLS)))
        await runner.run(conversation((), Message("user", ("selftest",))), self._limit, _OFFERED_TOOLS)
        return self._last().tools == [tool.name for tool in _OFFERED_TOOLS] and len(self._api.turns) == 1

    async def _swap_tools(self, runner: StepRunner) -> bool:
        """Swap tools for others, for none, and for one of the same name with another schema."""
        now = WorkerState()
        for tools in ((_tool("a"), _tool("b")), (_tool("c"),), (), (_tool("a", "y"),), (_tool("b"),)):
            config = WorkerConfig(tools=tools)
            await runner.run([Step(tuple(state.setup_frames(now, config)), Expect.ACKS)], self._limit, tools)
            now = now.after(config, None)
            body = (await self._ask(runner, "selftest", tools)).body
            seen = [(tool["name"], tool["input_schema"]) for tool in body.get("tools") or ()]
            if seen != [(tool.name, json.loads(tool.schema)) for tool in tools]:
                return False
        return True

    async def _extra_body(self, runner: StepRunner) -> bool:
        """Add a field to the API's request, and take it away again."""
        bodies = []
        for body in ("", '{"stop_sequences":["selftest stop"]}', ""):
            await runner.run([Step((state.flags(WorkerConfig(body=body)),), Expect.ACKS)], self._limit)
            bodies.append((await self._ask(runner, "selftest")).body.get("stop_sequences"))
        return bodies == [None, ["selftest stop"], None]

    async def _tools_in_body(self, runner: StepRunner) -> bool:
        """Tools as the client gave them, of names that the process knows and doesn't know; others, none, and
        one that is described anew. A call of each waits for us."""
        now = WorkerState(tools_in_body=True)
        long = replace(_tool("Bash"), description="selftest " * 1000, strict=True)
        for tools in ((long, _tool("a")), (_tool("ToolSearch"),), (), (_tool("a", "y"),), (_tool("Bash"),)):
            config = WorkerConfig(tools=tools)
            setup = Step(tuple(state.setup_frames(now, config)), Expect.ACKS)
            told = now.listed(config)
            await runner.run([setup], self._limit, told)
            now = now.after(config, None)
            self._api.reset()
            self._api.push(Reply.of("so", *(ToolUse(tool.name, {"x": "1"}) for tool in tools)))
            body = (await self._ask(runner, "selftest", told)).body
            if body.get("tools") != json.loads(config.body_with_tools)["tools"] or len(self._api.turns) != 1:
                return False
        return True

    async def _cache_ttl(self, runner: StepRunner) -> bool:
        """Have the cache kept for an hour, and no longer."""
        found = []
        for long in (False, True, False):
            config = WorkerConfig(long_cache=long)
            await runner.run([Step((state.flags(config),), Expect.ACKS)], self._limit)
            found.append(b'"ttl":"1h"' in (await self._ask(runner, "selftest")).raw)
        return found == [False, True, False]

    async def _simple(self, runner: StepRunner) -> bool:
        """All that a warm worker is used for, with nothing of the CLI's in the conversation."""
        needed = (self._inject, self._set_system, self._set_flags, self._extra_body, self._swap_tools)
        for check in needed:
            self._api.reset()
            if not await check(runner) or any(notes(turn) for turn in self._api.turns):
                return False
        self._api.reset()
        self._api.push(Reply.of("so", ToolUse("b", {"x": "1"})))
        await self._ask(runner, "selftest", (_tool("b"),))
        return len(self._api.turns) == 1

    async def _stable_prefix(self, runner: StepRunner) -> bool:
        """Go on with a conversation, then inject it: does the one begin like the other?"""
        said = (Message("user", ("one",)), Message("assistant", ("two",)), Message("user", ("three",)))
        self._api.push("two", "four")
        await runner.run(conversation((), said[0]), self._limit)
        await runner.run(conversation((), said[2]), self._limit)
        held = messages(self._last())
        first, *others = conversation((*said, Message("assistant", ("four",))), Message("user", ("five",)))
        emptied = Step((frames.boundary(), *first.frames), first.expect)
        await runner.run([emptied, *others], self._limit)
        return len(held) >= len(said) and messages(self._last())[: len(held)] == held

    async def _thoughts(self, runner: StepRunner) -> bool:
        """Inject an answer with thoughts of the model in use, which the API has signed."""
        model = (await self._ask(runner, "selftest")).model
        thoughts = (Thinking("hm", sign("hm")), Thinking("", sign("")), RedactedThinking(fresh_data()))
        history = (Message("user", ("one",)), Message("assistant", (*thoughts, "two")))
        first, *others = conversation(history, Message("user", ("three",)), model)
        emptied = Step((frames.boundary(), *first.frames), first.expect)
        await runner.run([emptied, *others], self._limit)
        (answer,) = (m for m in messages(self._last()) if m["role"] == "assistant")
        return bool(answer["content"] == frames.assistant(history[1].blocks)["message"]["content"])

    async def _extra_request(self, runner: StepRunner) -> bool:
        request = control.control("set_model", model=_UNLISTED_MODEL, system_prompt="selftest")
        await runner.run([Step((frames.boundary(), request), Expect.ACKS)], self._limit)
        await self._ask(runner, "selftest")
        return len(self._api.turns) > 1


async def run(binary: str, path: str) -> tuple[Abilities, bool]:
    """Try the CLI at `binary`; `path` is the PATH that it may need. Takes a few seconds and no network.

    The second value tells whether every check came to an end: a doubtful result is not to be kept.
    """
    async with AsyncExitStack() as stack:
        tests = [
            SelfTest(*await stack.enter_async_context(sandbox(binary, path))) for _ in range(_PARALLEL_CHECKS)
        ]
        names = iter(tests[0].checks)
        found: dict[str, bool] = {}
        for part in await asyncio.gather(*(test.run(names) for test in tests)):
            found |= part
        custom_model = found.pop("custom_model")
        if found["probes_models"] and not custom_model:
            # A worker would pay for each model it is set to: start each for its model instead.
            found |= {"set_model": False, "set_system": False}
        with_notes, without = found["transcripts"], found.pop("simple_transcripts")
        found["transcripts"] = with_notes and (without or not found["simple"])
        return Abilities(**found), all(test.conclusive for test in tests)


class AbilityStore:
    """Abilities by binary, in a file, so that a CLI is tried once."""

    def __init__(self, path: Path) -> None:
        self._cache = BinaryCache(path)

    def load(self, key: str) -> Abilities | None:
        """The stored abilities of this binary; None if any is missing."""
        stored = self._cache.load(key)
        try:
            return Abilities(**{field.name: bool(stored[field.name]) for field in fields(Abilities)})
        except (KeyError, TypeError):
            return None

    def save(self, key: str, abilities: Abilities) -> None:
        """Store the abilities of this binary."""
        self._cache.save(key, asdict(abilities))
