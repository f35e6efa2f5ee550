"""How a turn can fail. Each error carries data; the HTTP status is chosen in claude_server/http/errors.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class TurnError(Exception):
    """`message` is for the client. `retryable`: can it pass by itself? `retry_after`: seconds.

    `final`: the turn did something before it failed, so nobody is to make it again unasked.
    """

    retryable = False

    def __init__(self, message: str, *, retry_after: float | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        self.param = param
        self.final = False


class InvalidRequest(TurnError):
    """The API or the CLI refused the request as it stands, or it is none.

    `details`: what is wrong with its fields, where that is known: `field`, `message`, `type` and `input`.
    """

    details: tuple[Mapping[str, Any], ...] = ()


class ThoughtsRefused(InvalidRequest):
    """The API doesn't take earlier thoughts back: their signatures aren't theirs, or not good any more."""


class ThoughtsMissing(InvalidRequest):
    """The API wants the model's thoughts before the calls whose results it gets, or no thinking."""


class PromptTooLong(TurnError):
    """More tokens than the model's window."""


class RequestTooLarge(TurnError):
    """More bytes than the API takes."""


class ModelNotFound(TurnError):
    """No such model, or not for this account."""


class NotReady(TurnError):
    """No CLI, one too old, or one that isn't logged in. The message says what to do."""


class LoginLost(NotReady):
    """Nobody is logged in, or the login was refused twice."""


class LoginRefused(NotReady):
    """The login was refused once, which may pass: newly made ones are, now and then, while they spread."""

    retryable = True


class AccountProblem(TurnError):
    """The account's plan, credit or organization forbids it. The message says what its owner can do."""


class ModelNotPermitted(TurnError):
    """The login is good, and may not use this model."""


class QueueFull(TurnError):
    """No place to wait, or waited too long. Nothing was started."""


class RateLimited(TurnError):
    """A limit at Anthropic; `retry_after` is the time to its reset where it was told."""

    retryable = True


class UsageLimitReached(RateLimited):
    """A limit at Anthropic that lasts for hours, with no time told to its reset."""

    retryable = False


class Overloaded(TurnError):
    """Overload or a server error at Anthropic, or this machine has no room for a process."""

    retryable = True


class CliFailed(TurnError):
    """The CLI crashed, was cut off, or said something that makes no sense."""

    retryable = True


class ApiUnreachable(TurnError):
    """The CLI got no connection to the API. The message names the address."""

    retryable = True


class TurnTimeout(TurnError):
    """A deadline of ours passed."""

    retryable = True


class StateFailed(TurnError):
    """The records of the sessions can't be used right now."""

    retryable = True


class ShuttingDown(TurnError):
    """The server takes no turn any more. Not ours to retry, but the client's."""


class SessionLost(TurnError):
    """The CLI has no such conversation any more. Never reaches a client: the session is made again."""


class ProcessSilent(TurnError):
    """A process that idled for long doesn't answer, or one that waited at calls doesn't go on as it should.
    Nothing of an answer came. Never reaches a client: another process is asked at once."""


class SessionConflict(TurnError):
    """The session belongs to somebody else, or a turn runs in it."""


class SessionNotFound(TurnError):
    """The caller has no such session."""


class ResponseNotFound(TurnError):
    """The caller has no such response or item."""


class ConversationNotFound(TurnError):
    """The caller has no such conversation."""


class PreviousNotFound(InvalidRequest):
    """The response that a request goes on with isn't there."""


class ToolsNotAllowed(TurnError):
    """Something that only the operator can allow; the message names the setting."""


class NotOperator(TurnError):
    """Something for the operator only, asked for with another key."""


class UnknownServer(TurnError):
    """There is no MCP server of this name, or it isn't connected."""


class ServerFailed(TurnError):
    """An MCP server can't be started, or doesn't answer as one."""


class UnsupportedParameter(InvalidRequest):
    """A parameter without which the caller wouldn't get the data or the shape it asked for."""


class InvalidAnswer(TurnError):
    """The model's answer doesn't have the form that was asked for."""

    retryable = True
