"""An attempt in the terms of the CLI and the API: worker configuration, answer tool, stop texts. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from claude_server.core.model import (
    AttemptRequest,
    ModelInfo,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    TurnRequest,
    resolved_model,
)
from claude_server.engine.protocol import results
from claude_server.engine.protocol.argument_names import ArgumentNames, has_other_names
from claude_server.engine.protocol.blocks import AnswerTool
from claude_server.engine.protocol.control import Dialogue
from claude_server.engine.protocol.events import TurnTranslator
from claude_server.engine.protocol.plain import PlainDialogue
from claude_server.engine.protocol.waiting import WaitingCalls
from claude_server.engine.workers.state import WorkerConfig
from claude_server.engine.workers.thinking import (
    MIN_THINKING_TOKENS,
    calls_lack_thinking,
    has_thinking_budget,
    thinking_form,
    with_no_thoughts,
)

_ANSWER_TOOL_NAME = "json_answer"
_ANSWER_TOOL_DESCRIPTION = "Gives the answer. Call this once, with the whole answer as its arguments."
# What the API takes for a tool's arguments at the top: one object, no alternatives.
_NOT_ALLOWED_AT_ROOT = frozenset({"anyOf", "oneOf", "allOf", "$ref", "not", "enum", "const", "if"})
_ANY_OBJECT = '{"type":"object"}'
_REF = re.compile(r"#(?=/|$)")


@dataclass(frozen=True, slots=True)
class AttemptSpec:
    """An attempt, translated for the CLI.

    `request` has names of arguments that the API takes; `names` leads back to the caller's. `answer`: the
    forced tool that takes a structured answer, None for plain text. `stop`: the stop texts that we look for
    ourselves, since the API refuses them. `needs_thought`: the API takes results only for calls of an answer
    that began with a thought.
    """

    request: AttemptRequest
    config: WorkerConfig
    answer: AnswerTool | None
    stop: tuple[str, ...]
    names: ArgumentNames = field(default_factory=ArgumentNames)
    needs_thought: bool = False

    @property
    def restored_cost(self) -> float | None:
        """USD of its session's earlier turns, which a process may count on from; None: not known. Without a
        session all that it counts is its own turns', subagents' too."""
        session = self.request.session
        return session.cost_usd if session is not None else 0.0


@dataclass(frozen=True, slots=True)
class Script:
    """The exchange with a worker for one turn: what to write, how to read the answer, the spec.
    `before_question`: how many steps come before the question. `calls`: what it does at its calls, if the
    process may wait there. `resumes`: the process goes on from calls that waited. `thought`: the model has
    thought in it before. `is_kept`: is an event of the process's in its session's transcript? None: nobody
    asks."""

    dialogue: Dialogue | PlainDialogue
    translator: TurnTranslator
    spec: AttemptSpec
    before_question: int = 0
    calls: WaitingCalls | None = None
    resumes: bool = False
    thought: bool = False
    is_kept: Callable[[str], bool] | None = None


def attempt_spec(
    request: AttemptRequest, models: Sequence[ModelInfo] = (), *, takes_thoughts: bool = True
) -> AttemptSpec:
    """Translate an attempt for a CLI that lists `models`. `takes_thoughts`: see Abilities."""
    if not takes_thoughts:
        request = with_no_thoughts(request)
    names = ArgumentNames.of(request.turn.tools)
    request = results.tidied(names.request(request))
    answer = answer_tool(request.turn)
    # The API refuses blank stop texts.
    blank = tuple(text for text in request.turn.stop if not text.strip())
    config = config_for(request, answer, models)
    needs_thought = config.thinking and has_thinking_budget(config.model, models)
    return AttemptSpec(request, config, answer, blank, names, needs_thought)


def answer_tool(turn: TurnRequest) -> AnswerTool | None:
    """The tool that takes this turn's structured answer; None if the answer is plain text."""
    if turn.answer is None or turn.answer.schema is None or turn.tool_choice.mode in ("any", "tool"):
        return None
    schema = json.loads(turn.answer.schema)
    schema.pop("$schema", None)
    is_plain = schema.get("type") == "object" and _NOT_ALLOWED_AT_ROOT.isdisjoint(schema)
    # The API takes any name of a property but at the top.
    wrapped = not is_plain or has_other_names(schema)
    if wrapped:
        value = _nested_refs(schema)
        schema = {"type": "object", "properties": {"value": value}, "required": ["value"]}
    taken = {tool.name for tool in turn.tools}
    name = next(n for n in (_ANSWER_TOOL_NAME + "_" * i for i in range(len(taken) + 1)) if n not in taken)
    return AnswerTool(Tool(name, _ANSWER_TOOL_DESCRIPTION, json.dumps(schema)), wrapped)


def _nested_refs(schema: Any) -> Any:
    """A schema nested under "value": references to its root are rewritten to the new place."""
    if isinstance(schema, dict) and not _is_own_root(schema):
        return {
            key: _REF.sub("#/properties/value", value, count=1)
            if key == "$ref" and isinstance(value, str) and value.startswith("#")
            else _nested_refs(value)
            for key, value in schema.items()
        }
    return [_nested_refs(item) for item in schema] if isinstance(schema, list) else schema


def _is_own_root(schema: dict[str, Any]) -> bool:
    name = schema.get("$id")
    return isinstance(name, str) and not name.startswith("#")


def config_for(
    request: AttemptRequest, answer: AnswerTool | None, models: Sequence[ModelInfo]
) -> WorkerConfig:
    """The worker configuration for an attempt; `answer` is its answer tool, if it has one."""
    turn = request.turn
    tools = [*turn.tools, answer.tool] if answer else list(turn.tools)
    choice = _choice(turn, answer)
    if turn.cli_tools is None and not tools and (tools := _stub_tools(request)):
        # The API takes a conversation with calls in it only if there are tools.
        choice = {"type": "none"}
    body: dict[str, Any] = {}
    if choice is not None:
        body["tool_choice"] = choice
    if stops := [text for text in turn.stop if text.strip()]:
        body["stop_sequences"] = stops
    plain = {
        "temperature": turn.temperature,
        "top_p": turn.top_p,
        "service_tier": turn.service_tier,
        "top_k": turn.top_k,
    }
    body |= {name: value for name, value in plain.items() if value is not None}
    limit = turn.max_output_tokens
    thinks = turn.thinking and (limit is None or limit > MIN_THINKING_TOKENS)
    if calls_lack_thinking(request) and has_thinking_budget(turn.model, models):
        thinks = False
    # With a call forced, or with sampling, the API takes none.
    thinks = thinks and not body.keys() & {"temperature", "top_p", "top_k"} and not _is_forced(choice)
    if thinks and turn.thinking_form:
        body["thinking"] = thinking_form(
            turn.thinking_form, limit, budget=has_thinking_budget(turn.model, models)
        )
    return WorkerConfig(
        model=turn.model,
        system=request.system,
        effort=turn.effort,
        max_output_tokens=limit,
        thinking=thinks,
        tools=tuple(tools),
        body=json.dumps(body) if body else "",
        long_cache=turn.long_cache,
        resolved_model=resolved_model(turn.model, models),
    )


def _choice(turn: TurnRequest, answer: AnswerTool | None) -> dict[str, Any] | None:
    """The API's tool_choice; None: its default."""
    choice = turn.tool_choice
    if answer is not None:
        alone = not turn.tools or choice.mode == "none"
        named = ToolChoice("tool", answer.tool.name) if alone else ToolChoice("any")
        # Two answers are none.
        choice = ToolChoice(named.mode, named.name, choice.parallel and not alone)
    elif not turn.tools or choice == ToolChoice():
        return None
    result: dict[str, Any] = {"type": choice.mode}
    if choice.name is not None:
        result["name"] = choice.name
    if not choice.parallel and choice.mode != "none":
        result["disable_parallel_tool_use"] = True
    return result


def _is_forced(choice: dict[str, Any] | None) -> bool:
    return choice is not None and choice["type"] in ("any", "tool")


def _stub_tools(request: AttemptRequest) -> list[Tool]:
    """A stub for each tool that was called in a conversation."""
    blocks = [block for message in (*request.history, request.turn.question) for block in message.blocks]
    names = {block.name for block in blocks if isinstance(block, ToolUse)}
    if request.session is not None:
        names |= {*request.session.called}
    if not names and any(isinstance(block, ToolResult) for block in blocks):
        # In a session whose calls were not noted.
        names = {"tool"}
    return [Tool(name, "", _ANY_OBJECT) for name in sorted(names)]
