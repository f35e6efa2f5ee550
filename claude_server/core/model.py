"""The model of a turn: its request, the events of its answer, and one attempt at it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from claude_server.core.answer_format import AnswerFormat
from claude_server.core.cli_tools import CliTools

Role = Literal["user", "assistant"]
SessionState = Literal["created", "resumed", "recreated"]
StopReason = Literal[
    "end_turn",
    "max_tokens",
    "model_context_window_exceeded",
    "stop_sequence",
    "tool_use",
    "refusal",
    "max_turns",
    "other",
]


@dataclass(frozen=True, slots=True)
class Image:
    """`data` is base64; `media_type` one of image/png, image/jpeg, image/gif, image/webp."""

    media_type: str
    data: str


@dataclass(frozen=True, slots=True)
class Document:
    """A PDF, in base64."""

    data: str
    title: str | None = None


@dataclass(frozen=True, slots=True)
class ApiBlock:
    """A block in the API's own words, as JSON text: a text with citations, a document, a search result or an
    image of a kind that nothing here has to understand. It reaches the API as it is."""

    json: str


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call that the model made; `id` is of letters, digits, "_" and "-"."""

    id: str
    name: str
    input: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The caller's answer to the call `id`. `is_error`: the caller says that the call failed."""

    id: str
    blocks: tuple[str | Image | Document | ApiBlock, ...]
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Thinking:
    """What the model thought before the block that follows. `signature` is the API's, for exactly this text,
    which is empty where the API keeps it to itself."""

    text: str
    signature: str


@dataclass(frozen=True, slots=True)
class RedactedThinking:
    """Thinking that only the API can read, as it came from there."""

    data: str


Thought = Thinking | RedactedThinking


# What the model is told where the caller gives no result to a call.
NO_RESULT = "No result was given."


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A call in an answer. `default`: the text of its result if the caller gives none."""

    id: str
    name: str
    default: str = NO_RESULT


# A text is simply a string.
Block = str | Image | Document | ApiBlock | ToolUse | ToolResult | Thinking | RedactedThinking


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation: its blocks in order, no text among them empty.

    Every ToolUse of an assistant's message has its ToolResult in the next one, where the results come first.
    Thoughts are in assistant's messages only, and something else follows on them.
    """

    role: Role
    blocks: tuple[Block, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(block for block in self.blocks if isinstance(block, str))

    @property
    def without_thoughts(self) -> Message:
        """The message as a client sends it that can't send thoughts."""
        blocks = tuple(block for block in self.blocks if not isinstance(block, Thought))
        return self if blocks == self.blocks else replace(self, blocks=blocks)


@dataclass(frozen=True, slots=True)
class Tool:
    """A function of the caller. `schema` is the JSON text of the schema of its arguments, an object.
    `strict`: the API is to hold the model to it."""

    name: str
    description: str
    schema: str
    strict: bool = False


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether the model may, must or must not call a tool: any, or the one named `name`. `parallel`: several
    calls in one answer are allowed."""

    mode: Literal["auto", "any", "none", "tool"] = "auto"
    name: str | None = None
    parallel: bool = True


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """A turn to be run: the conversation so far, the message to answer, and where it belongs.

    `session_id` is the client's name for its session, `owner` the key it came with ("" without keys).
    `buffered`: nothing is sent before the answer is complete. `effort` None is the model's own,
    `max_output_tokens` None the CLI's own limit. `answer` is the format that the answer must have.
    `service_tier`: the API's name of one, None its default; `long_cache`: it caches for an hour.
    `shows_thinking`: thinking is sent to the client. `thinking_form`: the API's `thinking` as JSON text,
    where a client asks for a form of its own. `notices` tell the client how the request was
    understood. `cli_tools` None: the CLI runs none of its own tools.
    """

    id: str
    question: Message
    history: tuple[Message, ...] = ()
    system: str = ""
    model: str | None = None
    session_id: str | None = None
    owner: str = ""
    buffered: bool = False
    effort: str | None = None
    max_output_tokens: int | None = None
    thinking: bool = True
    shows_thinking: bool = False
    thinking_form: str = ""
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    answer: AnswerFormat | None = None
    stop: tuple[str, ...] = ()
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    cli_tools: CliTools | None = None
    service_tier: str | None = None
    long_cache: bool = False
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """How the engine opens a session's conversation. `uuid` names the CLI's transcript.

    create: a new transcript; what a failed first turn left under that name is dropped.
    resume: the transcript up to the event `at`, the last one that was answered (None: to its end). `cost_usd`
    is the CLI's total for the session so far: newer CLIs count on from it. `results`: those of the calls in
    that answer, which the question holds too; `thoughtful`: thoughts of this turn's model come before those
    calls. `called`: the names of all tools that were called before.
    """

    uuid: str
    how: Literal["create", "resume"]
    at: str | None = None
    cost_usd: float | None = None
    results: tuple[ToolResult, ...] = ()
    called: tuple[str, ...] = ()
    thoughtful: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts as the API counts them: `input_tokens` is without cache reads and writes."""

    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_creation_tokens: int = 0
    output_tokens: int = 0
    thinking_tokens: int = 0

    @property
    def prompt_tokens(self) -> int:
        return self.input_tokens + self.cache_read_tokens + self.cache_creation_tokens


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """The API has begun to answer: `model` is the one that does. `usage`: what it tells at the beginning, of
    the prompt."""

    model: str
    session: SessionState | None = None
    notices: tuple[str, ...] = ()
    usage: Usage = field(default=Usage(), compare=False)


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    text: str


@dataclass(frozen=True, slots=True)
class Citation:
    """Where the text of the block that is under way comes from: the API's own words, as JSON text."""

    json: str


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    """The model calls a tool; what follows are its arguments."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of the JSON text of the arguments of the call that was started last."""

    text: str


@dataclass(frozen=True, slots=True)
class BlockEnded:
    """A block of the answer is complete: a text, a thought, or a call. `thought` is the whole of a thought; a
    redacted one had no deltas. Where the answer was cut, its last block has no end of its own."""

    thought: Thought | None = None


@dataclass(frozen=True, slots=True)
class ToolRun:
    """The CLI runs one of its own tools, which can't be undone. `what`: its arguments in one line."""

    name: str
    what: str


@dataclass(frozen=True, slots=True)
class TurnDone:
    """The successful end of a turn. `duration_ms`: wall time of the attempt; `cost_usd`: the CLI's estimate,
    None where the turn was cut before the CLI gave one. `api_requests`: answers that the API began, more than
    one where the CLI asked again by itself.

    `stop_sequence`: the stop text that was found, if the answer ends at one.
    `mark` is the CLI's name for the last event of the answer: what a session is resumed at ("": at its end);
    `total_cost_usd` is where the CLI's own count for the session stands. `calls` are those of the answer, the
    one that gave a structured answer too: in a session they wait for their results.
    """

    stop_reason: StopReason
    usage: Usage
    model: str
    cost_usd: float | None
    duration_ms: int
    mark: str | None = None
    total_cost_usd: float | None = None
    engine: str = ""
    api_requests: int = 1
    retries: int = 0
    session: SessionState | None = None
    notices: tuple[str, ...] = ()
    calls: tuple[OpenCall, ...] = ()
    stop_sequence: str | None = None


_Delta = TextDelta | ThinkingDelta | ToolCallDelta
TurnEvent = TurnStarted | _Delta | Citation | ToolCallStarted | BlockEnded | ToolRun | TurnDone


def merge_deltas(events: Iterable[TurnEvent]) -> Iterator[TurnEvent]:
    """Join neighbouring deltas of one kind into one."""
    for kind, group in itertools.groupby(events, type):
        if issubclass(kind, _Delta):
            yield kind("".join(event.text for event in group if isinstance(event, kind)))
        else:
            yield from group


@dataclass(frozen=True, slots=True)
class AttemptRequest:
    """One attempt at a turn. `history` is whole, or without a part that the session holds already."""

    turn: TurnRequest
    system: str
    history: tuple[Message, ...]
    session: SessionPlan | None = None


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that the CLI lists. `adaptive_thinking`: it thinks as much as the task needs, not within a
    budget of tokens."""

    id: str
    display_name: str
    resolves_to: str | None = None
    adaptive_thinking: bool = False


# The CLI marks a model's long context at its name; the API's name is without it.
_LONG_CONTEXT = "[1m]"


def plain_model(name: str) -> str:
    """A model's name as the API knows it."""
    return name.removesuffix(_LONG_CONTEXT)


def listed_model(name: str | None, listed: Iterable[ModelInfo]) -> ModelInfo | None:
    """What the CLI lists of a model, by its name or by the id that it stands for. None is the default."""
    plain = plain_model(name or "default")
    return next((m for m in listed if plain in (plain_model(m.id), plain_model(m.resolves_to or ""))), None)


def resolved_model(name: str | None, listed: Iterable[ModelInfo]) -> str:
    """The id that a model's name stands for; one that isn't listed is an id. "": not known."""
    known = listed_model(name, listed)
    return plain_model((known.resolves_to if known is not None else name) or "")
