"""The script of a turn on a worker of the pool: what is said to its process, and how the answer is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from claude_server.core.model import Thought
from claude_server.engine.processes.argv import Launch
from claude_server.engine.protocol import control
from claude_server.engine.protocol.advice import LoginAdvice
from claude_server.engine.protocol.control import Dialogue, Expect, Step, initialize
from claude_server.engine.protocol.costs import CostRequest
from claude_server.engine.protocol.events import TurnTranslator
from claude_server.engine.protocol.held_answer import HeldAnswer
from claude_server.engine.protocol.plain import PlainDialogue
from claude_server.engine.protocol.transcript import Conversation
from claude_server.engine.protocol.waiting import GivenResults, WaitingCalls
from claude_server.engine.workers import state
from claude_server.engine.workers.attempt_spec import AttemptSpec, Script
from claude_server.engine.workers.state import FIRST_SERVER, Abilities, Level, WorkerState
from claude_server.engine.workers.suspended import Suspended
from claude_server.engine.workers.unsupported import NO_LONG_CACHE, UNTESTED_LEVELS
from claude_server.engine.workers.worker import Worker

# So many earlier messages cost as much as the start of a process that reads them: the newest CLI takes some
# 9 ms of a core for each question and answer, 2.1.197 half of that, and to start some 0.5 s.
LONG_HISTORY = 200


@dataclass(frozen=True, slots=True)
class Use:
    """How workers of a pool are used. `waits`: a process may wait at its calls; `cost_request`: how it is
    asked then what it has cost."""

    level: Level
    abilities: Abilities
    waits: bool = False
    cost_request: CostRequest = "get_usage"


def script_for(spec: AttemptSpec, worker: Worker, advice: LoginAdvice, use: Use) -> Script:
    """The script of this turn on `worker`, which is only looked at."""
    request, config = spec.request, spec.config
    level = use.level
    translator = _translator(spec, worker, advice, use)
    if worker.suspended is not None:
        return _resumed(spec, worker, worker.suspended, translator, use)
    if worker.launch.plain is not None:
        return Script(PlainDialogue(request.history, request.turn.question, translator), translator, spec)
    begun = worker.state or worker.first_state(config)
    steps = _first_steps(spec, worker, begun, level) if worker.state is None else _further_steps(spec, begun)
    before_question = len(steps) - 1
    if worker.idled_long:
        # Before anything that costs: a process that was stopped would do it once it goes on.
        steps = [control.are_you_there(), *steps]
    calls = WaitingCalls(cost_request=use.cost_request) if use.waits else None
    dialogue = Dialogue(steps, translator, begun.listed(config), calls=calls)
    return Script(dialogue, translator, spec, before_question, calls)


def _translator(spec: AttemptSpec, worker: Worker, advice: LoginAdvice, use: Use) -> TurnTranslator:
    request, config = spec.request, spec.config
    offered = {tool.name for tool in request.turn.tools}
    return TurnTranslator(
        engine=use.level,
        cost_before=worker.cost_usd,
        restored_cost=spec.restored_cost,
        answer=spec.answer,
        stop=spec.stop,
        names=spec.names,
        held=HeldAnswer(offered if use.waits else (), needs_thought=spec.needs_thought),
        goes_on=worker.suspended is not None,
        notices=(NO_LONG_CACHE,) if config.long_cache and not use.abilities.cache_ttl else (),
        model=request.turn.model,
        advice=advice,
    )


def _resumed(
    spec: AttemptSpec, worker: Worker, waits: Suspended, translator: TurnTranslator, use: Use
) -> Script:
    """The script of a turn that brings the results of the calls at which the process waits."""
    now = worker.state or worker.first_state(spec.config)
    spec = replace(spec, config=waits.config_with(spec.config.tools))
    given = GivenResults(waits.leave, worker.results)
    calls = WaitingCalls(given, use.cost_request)
    setup = state.setup_frames(now, spec.config)
    steps = [Step(tuple(setup), Expect.ACKS)] if setup else []
    if worker.idled_long:
        steps = [control.are_you_there(), *steps]
    steps.append(Step((given.first(),), Expect.TURN))
    dialogue = Dialogue(steps, translator, now.listed(spec.config), calls=calls)
    return Script(dialogue, translator, spec, 0, calls, resumes=True, thought=waits.thought)


def _first_steps(spec: AttemptSpec, worker: Worker, begun: WorkerState, level: Level) -> Sequence[Step]:
    """The steps of the first turn of a process that isn't initialized; `begun`: as it will be then."""
    request, config = spec.request, spec.config
    question, history = request.turn.question, request.history
    first = initialize(config.system, FIRST_SERVER if config.tools else None)
    if level in UNTESTED_LEVELS:
        # The rest of the configuration was set at the start of the process.
        listed = begun.tools_in_body and config.tools
        tools = [Step((state.flags(config, lists_tools=True),), Expect.ACKS)] if listed else []
        if level == "text":
            return [first, *tools, *control.flattened(history, question)]
        return [first, *tools, *control.conversation(history, question, config.resolved_model)]
    if request.session is not None:
        return [first, *state.session_steps(begun, config, history, question)]
    if worker.process.loaded:
        return [first, *state.session_steps(begun, config, (), question)]
    return [first, *state.turn_steps(begun, config, history, question)]


def _further_steps(spec: AttemptSpec, now: WorkerState) -> Sequence[Step]:
    request, config = spec.request, spec.config
    if request.session is not None:
        return state.session_steps(now, config, (), request.turn.question)
    return state.turn_steps(now, config, request.history, request.turn.question)


def launch_for(
    spec: AttemptSpec, level: Level, listed_models: frozenset[str], abilities: Abilities
) -> Launch:
    """The launch of a process that is started for this turn."""
    config, session = spec.config, spec.request.session
    if level in UNTESTED_LEVELS:
        plain = config.system if level == "plain" else None
        return Launch(config.model, session, effort=config.effort, flags=config.flags, plain=plain)
    if session is not None:
        return Launch(config.model, session)
    custom = state.custom_model(config.model, listed_models, abilities)
    told = _long_conversation(spec) if abilities.transcripts else None
    if told is not None:
        return Launch(config.model, custom_model=custom, conversation=told)
    return Launch(custom_model=custom)


def _long_conversation(spec: AttemptSpec) -> Conversation | None:
    """The earlier messages, where a process is to read them.

    Of a process that was given no model, the CLI takes the one that the rows name for its model. So they name
    none; but then thoughts would be left out.
    """
    history, config = spec.request.history, spec.config
    if len(history) < LONG_HISTORY:
        return None
    if config.model is not None:
        return Conversation.before(spec.request.turn.question, history, config.resolved_model)
    if any(isinstance(block, Thought) for message in history for block in message.blocks):
        return None
    return Conversation.before(spec.request.turn.question, history, "")
