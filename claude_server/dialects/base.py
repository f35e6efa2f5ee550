"""The door of a dialect: what each one gives the server, and what it gets from it. Pure.

A dialect is a way to speak to this server over HTTP: the shapes of requests, answers, streams and errors. It
makes turns of a request (`needs`, then `prepare`), an answer of the turns' events (a `Presenter`), and the
body of an error of a `Failure`. The server does everything else, once for all of them: it reads and parses,
authorizes, fetches images, resolves tools, runs the turns, streams, and notices who hangs up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, Protocol, TypeVar

from pydantic import BaseModel, Field, StrictBool, StrictStr

from claude_server.core.cli_tools import CliTools
from claude_server.core.entry import Entry
from claude_server.core.model import Image, TurnEvent, TurnRequest
from claude_server.dialects.rules import Rule

_T = TypeVar("_T")
# The first wrong one is told: complaints about millions of them would take gigabytes.
FailFastList = Annotated[list[_T], Field(fail_fast=True)]
ReasoningField = Literal["reasoning_content", "reasoning"]


class TurnBody(BaseModel):
    """What the body of each dialect's request has. `model` is authorized before all else that costs."""

    model: StrictStr | None = None
    stream: StrictBool | None = None


Body = TypeVar("Body", bound=TurnBody)


@dataclass(frozen=True, slots=True)
class Policy:
    """The operator's settings for requests and answers, under the same names. `sampling_models`: patterns of
    model names. `reasoning_field` None: thinking is not shown. `reasoning_details`: a chat's has a form that
    can be sent back, too. `chunk_chars`: the length of the pieces that
    the text of a buffered answer is streamed in; None: as it comes."""

    default_model: str | None = None
    stream_mode: str = "live"
    strict: bool = False
    sampling_models: tuple[str, ...] = ()
    reasoning_field: ReasoningField | None = "reasoning_content"
    reasoning_details: bool = True
    shows_tools: bool = True
    chunk_chars: int | None = None


@dataclass(frozen=True, slots=True)
class Needs:
    """What a request has the server fetch before it can be prepared. `images`: http(s) addresses, and the
    place of each in the request. `enable_tools`: the CLI may run tools of its own, as configured for
    `session_id`."""

    images: Mapping[str, str] = field(default_factory=dict)
    enable_tools: bool = False
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class Around:
    """What only the server knows of a request, which has been authorized by now.

    `id`: hexadecimal digits, fresh for each request, for the names of its turns and its answer. `created`:
    epoch seconds. `owner`: the key's id, "" without keys. `images`: those at the URLs that it needs; what is
    missing may not be fetched. `cli_tools`: those that the caller gets, None for none.
    """

    id: str
    created: int
    policy: Policy = Policy()
    owner: str = ""
    images: Mapping[str, Image] = field(default_factory=dict)
    cli_tools: CliTools | None = None


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """A server-sent event. `data` is one line; `name` goes into its `event:` line, None for no such line."""

    data: bytes
    name: str | None = None


class FieldError(BaseModel):
    """`field`: where in the body, with dots; "" for the body itself. `input`: what is there."""

    field: str
    message: str
    type: str
    input: Any


@dataclass(frozen=True, slots=True)
class Failure:
    """A refusal or a failed turn, before a dialect words it.

    `status`, `code` and `retry` (whether a client should try again) come from the server's table.
    `retry_after`: whole seconds. `details`: each a FieldError, as a mapping. `request_id`: "" where
    there is none yet. `headers` go out beside those about retries.
    """

    status: int
    code: str
    message: str
    param: str | None = None
    retry: bool = False
    retry_after: int | None = None
    details: tuple[Mapping[str, Any], ...] = ()
    request_id: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request names of what is kept: the response that it follows on, its conversation, and items."""

    previous: str | None = None
    conversation: str | None = None
    items: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recalled:
    """What was found. `lists`: JSON lists of the items before the request's own, the first one first;
    `items`: JSON by id."""

    lists: tuple[str, ...] = ()
    items: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Memory(Generic[Body]):
    """How a dialect's requests use what is kept: what one names, and the request completed with it. Raise
    InvalidRequest, `complete` ResponseNotFound too."""

    wanted: Callable[[Body], Wanted]
    complete: Callable[[Body, Recalled], Body]


class Keeper(Protocol):
    """What is kept of an answer."""

    def entry(self) -> Entry:
        """As the answer stands."""

    def not_kept(self, why: str) -> None:
        """It could not be kept: the answer has to say so."""


class Lasting(Keeper, Protocol):
    """An answer that is made in the background: kept when it is taken, and at its end."""

    def begin(self) -> Iterable[ServerEvent]:
        """The events that tell that it was taken."""

    def now(self) -> bytes:
        """The JSON of the answer as it stands."""

    def cancelled(self) -> Iterable[ServerEvent]:
        """The end of a stream whose answer is not wanted any more."""


class Presenter(Protocol):
    """Makes one answer of the events of its turns: `whole`, or in a stream by the other methods.

    `index` is the turn's place among those that were prepared. The stream's methods may keep count: they are
    called in the order in which their events are sent.
    """

    def whole(self, answers: Sequence[Sequence[TurnEvent]]) -> bytes:
        """The JSON body. Each answer holds its TurnDone. It may be asked for again."""

    def events(self, index: int, event: TurnEvent) -> Iterable[ServerEvent]:
        """What one event of a turn becomes."""

    def end(self) -> Iterable[ServerEvent]:
        """What follows on the last event of a stream that succeeded."""

    def failed(self, failure: Failure) -> Iterable[ServerEvent]:
        """The end of a stream that fails after it has begun."""

    def ping(self) -> ServerEvent | None:
        """What is sent in a time of silence; None: a comment, which clients pass over."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that can be run: its turns, run at the same time, and the presenter of their answer.

    `ignored`: parameters without effect, which the client is told. `facts` are for the log's line, bounded
    and without secrets. What the client is to be told of how it was understood is in the turns' `notices`.
    `keeper`: the answer is kept before its end is told; `lasting`: it is made in the background.
    """

    turns: tuple[TurnRequest, ...]
    presenter: Presenter
    ignored: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    keeper: Keeper | None = None
    lasting: Lasting | None = None


@dataclass(frozen=True, slots=True)
class Counting(Generic[Body]):
    """Counts of tokens: `path` below the dialect's, the shapes, and what makes the body of a count."""

    path: str
    request: type[Body]
    answer: type[BaseModel]
    present: Callable[[int], bytes]


class ListedModel(Protocol):
    """A name that `model` may have. `resolves_to`: the id that it stands for, where that is known; `created`:
    epoch seconds."""

    @property
    def id(self) -> str: ...

    @property
    def created(self) -> int: ...

    @property
    def display_name(self) -> str | None: ...

    @property
    def resolves_to(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Models:
    """How a dialect's clients are told of models, at the path that it shares with others: the list, and one
    of it."""

    page: Callable[[Iterable[ListedModel]], bytes]
    one: Callable[[ListedModel], bytes]


@dataclass(frozen=True, slots=True)
class Dialect(Generic[Body]):
    """One way to speak to the server.

    `path` is its endpoint's; errors at it and below it are in this dialect. At paths that several share,
    those of clients that send `header` are. `request`, `answer` and `error_body` are the shapes; `purpose` a
    sentence for the OpenAPI document. `id_header`: where clients look for the request's id, beside
    x-request-id. `statuses`: for a failure's code, the status that is this dialect's own and not the table's.
    `rules`: what becomes of each parameter. `memory` None: requests name nothing that is kept.
    `rules`: what becomes of each parameter. `aliases`: other paths of the same endpoint, which clients use
    whose settings have a usual mistake. `counting`: how tokens are counted; None: they aren't.
    `models`: None for OpenAI's shape.

    `needs` and `prepare` raise InvalidRequest or UnsupportedParameter with `param`. `error` makes the body.
    """

    name: str
    path: str
    purpose: str
    request: type[Body]
    answer: type[BaseModel]
    error_body: type[BaseModel]
    needs: Callable[[Body], Needs]
    prepare: Callable[[Body, Around], Prepared]
    error: Callable[[Failure], bytes]
    header: str | None = None
    id_header: str | None = None
    statuses: Mapping[str, int] = field(default_factory=dict)
    rules: Mapping[str, Rule] = field(default_factory=dict)
    memory: Memory[Body] | None = None
    aliases: tuple[str, ...] = ()
    counting: Counting[Any] | None = None
    models: Models | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path, *self.aliases)
