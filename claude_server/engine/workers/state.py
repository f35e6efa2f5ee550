"""A worker's state, the configuration that a turn needs, and the steps from one to the other. Pure.

A WorkerState is what we know of a process between two turns: how it is configured, and which conversation is
in its context. It is a value; a new one takes its place twice:

    none --`initialized`: the process got its first system prompt--> known --`after`: a turn ended--> known

Nobody else changes it, and never in the midst of a turn. Only Worker.begin and Worker.finish, which own what
a turn does to a worker, and the starter, which initializes ahead, put a new state in place. While a turn runs
the state is the one of before it, from which the turn's steps were made.

What a turn needs is a WorkerConfig. Some of it can be set and reset in any process: effort, variables, and
the tools where they go by the API's body. Some can only be replaced: a system prompt is never taken away.
Some is there for good: an unlisted model that the process was started for, and without `tools_in_body` the
first description of each tool. `can_serve` knows all this; `turn_steps` relies on it.

The conversation is one of three: `messages` () is an empty context; other messages stand in it exactly so,
and a turn whose history is just those is simply asked; None means that nobody knows. In the last two cases a
boundary empties the context, after which the history is put in again. A boundary works only while the process
is idle, so it opens the write of a step, never follows a line that asks something. A session's process never
gets one: what it holds is the conversation itself.

A turn that was cancelled, cut off or failed without its result leaves a process in which anything may stand.
It isn't described here: its worker is retired. So a state is true, or there is none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

from claude_server.core.model import Message, Tool
from claude_server.engine.protocol import control, frames
from claude_server.engine.protocol.control import Expect, Step
from claude_server.engine.protocol.frames import Frame

# How the CLI is used, best first: any worker for any turn; workers kept by their system prompt; a process
# a turn; the same, with the history as text; and a process a turn without stream-json.
Level = Literal["warm", "keyed", "spawn", "text", "plain"]
# Every name that a turn may set, so that each time all of them are written: "" unsets.
MAX_OUTPUT_TOKENS = "CLAUDE_CODE_MAX_OUTPUT_TOKENS"
NO_THINKING = "CLAUDE_CODE_DISABLE_THINKING"
# The name of the tool server that a process has from its `initialize` on.
FIRST_SERVER = "f0"
EXTRA_BODY = "CLAUDE_CODE_EXTRA_BODY"
# What the API caches is kept for an hour: by the name that newer CLIs heed, and by that of older ones.
_CACHE_TTL = "CLAUDE_CODE_PROMPT_CACHE_TTL"
_LONG_CACHE = "ENABLE_PROMPT_CACHING_1H"
# A process is not told of more names of tools than this, if one turn doesn't have more.
_MAX_KNOWN_NAMES = 512
_ANY_OBJECT = '{"type":"object"}'
# Longest schema, in characters, whose canonical JSON is cached: a request may bring far larger ones.
_CACHE_MAX_CHARS = 64 * 1024
_FLAG_NAMES = (MAX_OUTPUT_TOKENS, NO_THINKING, EXTRA_BODY, _CACHE_TTL, _LONG_CACHE)


@dataclass(frozen=True, slots=True)
class Abilities:
    """The abilities of an installed CLI, each as the self-test observed it at the stand-in API.

    inject: earlier messages over stdin reach the API as such. empty: compact_boundary empties the
    conversation. set_model: it sets and resets the model, and leaves no text of its own. set_system: it
    takes a system prompt as well. set_flags: apply_flag_settings sets and unsets. probes_models: set_model
    to an unlisted model sends a paid request of its own, unless the process was started for that model.
    single_400: a refused request is sent once. literal_slash: a text that begins with "/" reaches the model.
    tools: the caller's tools reach the API under their own names, and a call of one waits for us. swap_tools:
    they can be exchanged for others, and taken away. extra_body: fields can be added to the API's request.
    tools_in_body: the list of tools is such a field, and stands in place of the CLI's own. cache_ttl: what
    the API caches can be kept for an hour.
    simple: without its notes (CLAUDE_CODE_SIMPLE) the CLI does all that the level "warm" needs.
    stable_prefix: an injected conversation begins with the bytes of one that was held; else today's date
    moves in it.
    transcripts: it goes on with a conversation that it reads from a file of ours at its start.
    counts_tokens: it has the API count a conversation that it was told, and asks the model for nothing.
    thoughts: those in earlier messages reach the API as they were.
    waits: at the calls of an answer the process waits, and goes on with their results in their order.
    keeps_thinking: what the model thought before these calls is in the conversation then. large_results: a
    result of 500,000 characters is passed on as it is; else 50,000.
    """

    stream_json: bool = False
    inject: bool = False
    empty: bool = False
    set_model: bool = False
    set_system: bool = False
    set_flags: bool = False
    probes_models: bool = False
    single_400: bool = False
    literal_slash: bool = False
    tools: bool = False
    swap_tools: bool = False
    extra_body: bool = False
    tools_in_body: bool = False
    cache_ttl: bool = False
    simple: bool = False
    stable_prefix: bool = False
    transcripts: bool = False
    counts_tokens: bool = False
    thoughts: bool = False
    waits: bool = False
    keeps_thinking: bool = False
    large_results: bool = False

    @property
    def resumes(self) -> bool:
        """Can a turn go on in the process that waits at the calls of the one before?"""
        return self.tools_in_body and self.waits and self.keeps_thinking

    @property
    def level(self) -> Level:
        """The best engine level that these allow."""
        if not (self.stream_json and self.literal_slash):
            return "plain"
        if not self.inject:
            return "text"
        if not (self.empty and self.set_model and self.set_flags):
            return "spawn"
        return "warm" if self.set_system else "keyed"


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """The configuration that a turn needs of a worker.

    `model` None: the account's default. `system` "": no system prompt of ours.
    `effort` None: the model's own. `max_output_tokens` None: the CLI's own limit. `body`: JSON text of the
    fields to add to the API's request, "" for none; `tools` are not among them. `long_cache`: what the API
    caches is kept for an hour. `resolved_model`: the id that `model` stands for, which earlier thoughts
    are for ("": not known, and thoughts are left out).
    """

    model: str | None = None
    system: str = ""
    effort: str | None = None
    max_output_tokens: int | None = None
    thinking: bool = True
    tools: tuple[Tool, ...] = ()
    body: str = ""
    long_cache: bool = False
    # Not what a process is set to, but what it makes of `model`.
    resolved_model: str = field(default="", compare=False)

    @property
    def environment(self) -> dict[str, str]:
        """Every environment variable that a turn may set; "" where unset."""
        limit = str(self.max_output_tokens) if self.max_output_tokens is not None else ""
        ttl = ("1h", "1") if self.long_cache else ("", "")
        values = (limit, "" if self.thinking else "1", self.body, *ttl)
        return dict(zip(_FLAG_NAMES, values, strict=True))

    @property
    def body_with_tools(self) -> str:
        """`body` with the list of tools, be it empty. Put together as text: the schemas are JSON already."""
        fields = f"{self.body.removesuffix('}')}, " if self.body else "{"
        return f'{fields}"tools": [{", ".join(map(_in_body, self.tools))}]}}'

    @property
    def flags(self) -> tuple[tuple[str, str], ...]:
        """The variables that are set, for a process that can only get them at its start."""
        return tuple((name, value) for name, value in self.environment.items() if value)


@dataclass(frozen=True, slots=True)
class WorkerState:
    """The state of a worker between two turns.

    `current`: the configuration of its last turn, or the one that it was started with. `custom_model`: the
    unlisted model that it was started for. `messages`: the conversation in its context; None if unknown.
    `servers`: how many tool servers it has been given.

    `tools_in_body`: a turn's list of tools goes to the API by a variable, whole, in place of the CLI's own.
    The process needs no more than their names, to wait at a call; it keeps those of earlier turns, `known`.
    Without that ability the process tells the API of the tools that it was given, and goes on with the first
    description of each, `first_described`, whatever it is given later.

    `continues_tools`: a conversation with tools may go on here after a text, without losing what the API's
    cache has of it.
    """

    current: WorkerConfig = field(default_factory=WorkerConfig)
    custom_model: str | None = None
    messages: tuple[Message, ...] | None = ()
    servers: int = 0
    first_described: Mapping[tuple[str, str], Tool] = field(default_factory=dict)
    tools_in_body: bool = False
    continues_tools: bool = False
    known: frozenset[str] = frozenset()

    @classmethod
    def initialized(
        cls,
        config: WorkerConfig,
        custom: str | None,
        *,
        tools_in_body: bool = False,
        continues_tools: bool = False,
    ) -> WorkerState:
        """The state after `initialize`, with the model, the system prompt and the tools of `config`; their
        names only, if they go by the body."""
        now = WorkerConfig(model=config.model, system=config.system)
        begun = cls(now, custom, tools_in_body=tools_in_body, continues_tools=continues_tools)
        return begun._with_tools(config.tools)

    def holds(self, config: WorkerConfig, history: Sequence[Message]) -> bool:
        """Does the worker hold exactly this conversation, so that it need not be sent again?

        Where no process waits at its calls, a conversation with tools is injected after each of them. Where
        that moves the date, it is injected after each text as well: otherwise the API's cache would end at
        the last text that was continued here.
        """
        if config.tools and not self.continues_tools:
            return False
        same = _prefix_of(self.current) == _prefix_of(config)
        return bool(history) and same and self.messages == tuple(history)

    def after(self, config: WorkerConfig, messages: tuple[Message, ...] | None) -> WorkerState:
        """The state after a turn; `messages` None: the answer can't be repeated as text."""
        return replace(self._with_tools(config.tools), current=config, messages=messages)

    def _with_tools(self, tools: tuple[Tool, ...]) -> WorkerState:
        if tools == self.current.tools:
            return self
        if self.tools_in_body:
            known = self.knows_with(tools)
            return replace(self, known=known, servers=self.servers + (known != self.known))
        told = {_tool_identity(tool): tool for tool in tools}
        return replace(
            self,
            current=replace(self.current, tools=tools),
            servers=self.servers + bool(tools),
            first_described={**told, **self.first_described},
        )

    def knows_with(self, tools: Sequence[Tool]) -> frozenset[str]:
        """The names of tools that the process has to know for a turn with these, with those of earlier turns:
        so turns that have tools in turn cost nothing."""
        names = frozenset(tool.name for tool in tools)
        together = self.known | names
        return together if len(together) <= _MAX_KNOWN_NAMES else names

    def listed(self, config: WorkerConfig) -> tuple[Tool, ...]:
        """The tools that the process is told of, when it asks in a turn."""
        if not self.tools_in_body:
            return config.tools
        return tuple(Tool(name, "", _ANY_OBJECT) for name in sorted(self.knows_with(config.tools)))

    @property
    def next_server(self) -> str:
        """A server name that is new to this worker: under an old name the CLI may find the old tools."""
        return f"f{self.servers}"


def _prefix_of(config: WorkerConfig) -> tuple[object, ...]:
    """What of a configuration can't change in a conversation; the rest is told to the CLI in its midst."""
    return config.model, config.system, config.tools


def custom_model(model: str | None, listed: frozenset[str], abilities: Abilities) -> str | None:
    """The model that a worker must be started for, or None where any worker will do."""
    return model if abilities.probes_models and model is not None and model not in listed else None


def can_serve(state: WorkerState, config: WorkerConfig, custom: str | None, abilities: Abilities) -> bool:
    """Can a worker be put into the state that a turn needs?"""
    if state.custom_model != custom:
        return False
    if not can_take_tools(state, config, abilities):
        return False
    # A system prompt can be replaced, never taken away; or not even replaced.
    return state.current.system == config.system or (abilities.set_system and config.system != "")


def can_take_tools(state: WorkerState, config: WorkerConfig, abilities: Abilities) -> bool:
    """Can a worker be given the tools that a turn needs?"""
    if state.tools_in_body or state.current.tools == config.tools:
        return True
    if not abilities.swap_tools:
        return not state.servers
    return all(state.first_described.get(_tool_identity(tool), tool) == tool for tool in config.tools)


def _tool_identity(tool: Tool) -> tuple[str, str]:
    """The CLI's identity of a tool: its name and its schema, with keys in any order."""
    kept = len(tool.schema) <= _CACHE_MAX_CHARS
    return tool.name, _cached_canonical_json(tool.schema) if kept else _canonical_json(tool.schema)


@lru_cache(256)
def _cached_canonical_json(schema: str) -> str:
    return _canonical_json(schema)


def _canonical_json(schema: str) -> str:
    return json.dumps(json.loads(schema), sort_keys=True)


def turn_steps(
    state: WorkerState, config: WorkerConfig, history: Sequence[Message], question: Message
) -> list[Step]:
    """The steps that configure a worker for a turn and ask the question; see can_serve()."""
    if state.holds(config, history):
        return session_steps(state, config, (), question)
    setup = setup_frames(state, config)
    talk = control.conversation(history, question, config.resolved_model)
    if not setup and state.messages == ():
        return talk
    result: list[Step] = []
    if setup:
        # The texts that set_model leaves behind are only there after its answer: a boundary in the same
        # write would come too early for them.
        result.append(Step((frames.boundary(), *setup), Expect.ACKS))
    first, *others = talk
    return [*result, replace(first, frames=(frames.boundary(), *first.frames)), *others]


def session_steps(
    state: WorkerState, config: WorkerConfig, history: Sequence[Message], question: Message
) -> list[Step]:
    """The steps of a turn in a process that holds its conversation, as a session's does: never a boundary,
    which would empty it."""
    setup = setup_frames(state, config)
    before = [Step(tuple(setup), Expect.ACKS)] if setup else []
    return [*before, *control.conversation(history, question, config.resolved_model)]


def setup_frames(state: WorkerState, config: WorkerConfig) -> list[Frame]:
    """The control requests that change a worker's configuration to `config`."""
    current = state.current
    result: list[Frame] = []
    if (current.model, current.system) != (config.model, config.system):
        fields = {"model": config.model} if config.model is not None else {}
        if config.system:
            fields["system_prompt"] = config.system
        result.append(control.control("set_model", **fields))
    in_body = state.tools_in_body
    if _by_flags(current, in_body) != _by_flags(config, in_body):
        result.append(flags(config, lists_tools=in_body and bool(config.tools or state.known)))
    needs_server = state.knows_with(config.tools) != state.known if in_body else current.tools != config.tools
    if needs_server:
        name = state.next_server
        servers = {name: {"type": "sdk", "name": name}} if config.tools else {}
        result.append(control.control("mcp_set_servers", servers=servers))
    return result


def _by_flags(config: WorkerConfig, in_body: bool) -> tuple[object, ...]:
    """What flags() tells of a configuration."""
    return config.effort, config.environment, config.tools if in_body else ()


def flags(config: WorkerConfig, *, lists_tools: bool = False) -> Frame:
    """The control request that sets the environment variables and the effort. `lists_tools`: and the tools,
    none too, in place of those that the process knows."""
    environment = config.environment
    if lists_tools:
        environment[EXTRA_BODY] = config.body_with_tools
    return control.control("apply_flag_settings", settings={"env": environment, "effortLevel": config.effort})


def _in_body(tool: Tool) -> str:
    """A tool as the API takes it, as JSON."""
    described = f', "description": {json.dumps(tool.description)}' if tool.description else ""
    strict = ', "strict": true' if tool.strict else ""
    return f'{{"name": {json.dumps(tool.name)}{described}, "input_schema": {tool.schema}{strict}}}'
