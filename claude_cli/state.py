"""What a worker is, what a turn needs, and the steps from one to the other. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from claude_cli import control, frames
from claude_cli.control import Answer, Step
from claude_cli.frames import Frame
from turns.model import Message

# How the CLI is used, best first: any worker for any turn; workers kept by their system prompt; a process
# a turn; the same, with the history as text; and a process a turn without stream-json.
Level = Literal["warm", "keyed", "spawn", "text", "plain"]
# Every name that a turn may set, so that each time all of them are written: "" unsets.
MAX_OUTPUT_TOKENS = "CLAUDE_CODE_MAX_OUTPUT_TOKENS"
NO_THINKING = "CLAUDE_CODE_DISABLE_THINKING"
_FLAG_NAMES = (MAX_OUTPUT_TOKENS, NO_THINKING)


@dataclass(frozen=True, slots=True)
class Abilities:
    """What the installed CLI can do, each as the self-test saw it at the stand-in.

    inject: earlier messages over stdin reach the API as such. empty: compact_boundary empties the
    conversation. set_model: it sets and resets the model, and leaves no text of its own. set_system: it
    takes a system prompt as well. set_flags: apply_flag_settings sets and unsets. probes_models: set_model
    to an unlisted model sends a paid request of its own, unless the process was started for that model.
    single_400: a refused request is sent once. literal_slash: a text that begins with "/" reaches the model.
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
class Need:
    """The state that a turn needs: model None is the account's default, system "" none of ours.

    effort None is the model's own. `max_output_tokens` None is the CLI's own limit.
    """

    model: str | None = None
    system: str = ""
    effort: str | None = None
    max_output_tokens: int | None = None
    thinking: bool = True

    @property
    def environment(self) -> dict[str, str]:
        """The flags that are variables, all of them; "" where unset."""
        limit = str(self.max_output_tokens) if self.max_output_tokens is not None else ""
        return dict(zip(_FLAG_NAMES, (limit, "" if self.thinking else "1"), strict=True))


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What a worker is between two turns.

    `now`: what its last turn needed, or what it was started with. `custom_model`: the unlisted model that it
    was started for. `messages`: the conversation that it holds; None if that can't be told any more.
    """

    now: Need = field(default_factory=Need)
    custom_model: str | None = None
    messages: tuple[Message, ...] | None = ()

    def holds(self, need: Need, history: Sequence[Message]) -> bool:
        """Does it hold just this conversation, so that the question can simply be asked?"""
        return bool(history) and self.now == need and self.messages == tuple(history)

    def after(self, need: Need, messages: tuple[Message, ...] | None) -> WorkerState:
        """The state after a turn; `messages` None: the answer can't be repeated as text."""
        return replace(self, now=need, messages=messages)


def custom_model(model: str | None, listed: frozenset[str], abilities: Abilities) -> str | None:
    """The model that a worker must be started for, or None where any worker will do."""
    return model if abilities.probes_models and model is not None and model not in listed else None


def can_serve(state: WorkerState, need: Need, custom: str | None, abilities: Abilities) -> bool:
    """Can a worker be put into the state that a turn needs?"""
    if state.custom_model != custom:
        return False
    # A system prompt can be replaced, never taken away; or not even replaced.
    return state.now.system == need.system or (abilities.set_system and need.system != "")


def steps(state: WorkerState, need: Need, history: Sequence[Message], question: Message) -> list[Step]:
    """The steps that put a worker into the state that a turn needs, and ask. It can serve the turn."""
    if state.holds(need, history):
        return control.conversation((), question)
    setup = _setup(state.now, need)
    talk = control.conversation(history, question)
    if not setup and state.messages == ():
        return talk
    result: list[Step] = []
    if setup:
        # The texts that set_model leaves behind are only there after its answer: a boundary in the same
        # write would come too early for them.
        result.append(Step((frames.boundary(), *setup), Answer.ACKS))
    first, *others = talk
    return [*result, replace(first, frames=(frames.boundary(), *first.frames)), *others]


def session_steps(
    state: WorkerState, need: Need, history: Sequence[Message], question: Message
) -> list[Step]:
    """The steps of a turn in the process of a session: it has the model and the system prompt, and a boundary
    would empty the session."""
    setup = _setup(state.now, need)
    before = [Step(tuple(setup), Answer.ACKS)] if setup else []
    return [*before, *control.conversation(history, question)]


def _setup(now: Need, need: Need) -> list[Frame]:
    result: list[Frame] = []
    if (now.model, now.system) != (need.model, need.system):
        fields = {"model": need.model} if need.model is not None else {}
        if need.system:
            fields["system_prompt"] = need.system
        result.append(control.control("set_model", **fields))
    if (now.effort, now.environment) != (need.effort, need.environment):
        result.append(flags(need))
    return result


def flags(need: Need) -> Frame:
    """The control message for what isn't model or system prompt."""
    settings = {"env": need.environment, "effortLevel": need.effort}
    return control.control("apply_flag_settings", settings=settings)
