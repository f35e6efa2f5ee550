"""What a failed turn's last words mean: the CLI's `result`, or its stderr, as a TurnError. No I/O.

The CLI tells a status where the API gave one. For the rest there are its own texts, and in newer versions
the API's error type; both are known by how they begin, since a client's words may be quoted further on.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from claude_server.core.errors import (
    AccountProblem,
    ApiUnreachable,
    CliFailed,
    InvalidRequest,
    LoginLost,
    LoginRefused,
    ModelNotFound,
    ModelNotPermitted,
    NotReady,
    Overloaded,
    PromptTooLong,
    RateLimited,
    RequestTooLarge,
    SessionLost,
    ThoughtsMissing,
    ThoughtsRefused,
    TurnError,
    UsageLimitReached,
)
from claude_server.engine.protocol.advice import LoginAdvice, account_advice
from claude_server.engine.protocol.frames import Frame
from claude_server.engine.protocol.redact import redacted
from claude_server.engine.protocol.resets import reset_time

# An error that comes as an event of a stream has a type and no status.
_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
# What the CLI puts in front of the API's sentence.
_PREFIX = re.compile(
    r"(?:Failed to authenticate[.:] )?(?:API Error: )?(?:\d{3} )?"
    r"(?:(?:Request rejected \(429\)|Server is temporarily limiting requests \(not your usage limit\)) · )?"
)
# The CLI's advice to a person at its terminal, in several versions' words; ours is for a client.
_TERMINAL = re.compile(r"\s*(?:· (?:Please run /login|Fix \w.*)|Run \S+ to pick a different model\.?)$")
# The CLI's words for a provider that can't be logged into; they say what to do.
_NO_PROVIDER = re.compile(
    r"AWS credentials|Google Cloud (credentials|authentication)|Could not load .*credentials|"
    r"No projectId was given|API Error: The file at .* does not exist"
)
# Its kinds of errors, in the assistant message that goes before the result, that are about the account.
_ACCOUNT_KINDS = frozenset(
    {"billing_error", "oauth_org_not_allowed", "account_on_hold", "verification_required"}
)
# The CLI knows by itself that its login is lost.
_LOGIN_LOST = re.compile(
    r"OAuth (session|token)|Login |Invalid API key|Invalid auth token|Anthropic profile login expired|"
    r"this login reached|your claude\.ai login expired|This session has no login|Authentication required"
)
# The API's words for a credential that it doesn't take, where neither status nor type is told.
_LOGIN_REFUSED = re.compile(
    r"Invalid authentication credentials|Invalid bearer token|invalid x-api-key|"
    r"OAuth (access )?token (has|is)|OAuth authentication"
)
# A 403 that is about the login and not about what was asked for.
_REVOKED = re.compile(r"OAuth token|Your account does not have access to Claude")
_MODEL_FORBIDDEN = re.compile(r"Claude \w+ is not available with|.*enable this model for your account")
# The CLI's words for a connection that it didn't get; for one that was closed it may begin alike.
_UNREACHABLE = re.compile(
    r"(Unable to connect to API|Connection refused|Can't reach the API|No internet route|"
    r"Couldn't connect through your proxy)"
    r"(?!.*\((ECONNRESET|EPIPE|ECONNABORTED|ConnectionClosed|ERR_SOCKET_CLOSED|UND_ERR_SOCKET)\))"
)
# Where the API finds fault with thoughts, and how.
_THOUGHTS_REFUSED = re.compile(r"messages\.\d+\.content\.\d+: Invalid `\w+` in `(redacted_)?thinking` block")
_THOUGHTS_MISSING = re.compile(
    r"messages\.\d+\.content\.\d+\.type: Expected `thinking` or `redacted_thinking`, but found"
)
_USAGE_LIMIT = re.compile(r"You've (hit|reached) your|You have reached your|.{0,40}usage limit reached")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A `result` that tells of a failure, and what was said around it.

    `kind`: the CLI's word for it, from its assistant message. `limit`: the last rate_limit_event. `model`: as
    the client named it. `now`: seconds since the epoch.
    """

    result: Frame
    now: float
    kind: str = ""
    limit: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None
    advice: LoginAdvice = field(default_factory=LoginAdvice)


def status_of(result: Frame) -> int | None:
    """The status that the API answered with, also in an event of a stream; None if it is not known."""
    status = result.get("api_error_status")
    if isinstance(status, int):
        return status
    return _STATUS_OF_TYPE.get(str(result.get("api_error_type")))


def error_from_result(refusal: Refusal) -> TurnError:
    """The error that a failed turn's `result` means."""
    result = refusal.result
    status = status_of(result)
    said = result.get("result") or "; ".join(map(str, result.get("errors") or ()))
    text = redacted(str(said or "no reason given"))
    if "No conversation found" in text:
        return SessionLost(text)
    if result.get("terminal_reason") == "prompt_too_long" or "prompt is too long" in text.lower():
        return PromptTooLong(text, param="messages")
    for known in (_provider_error, _limit_error, _account_error, _login_error):
        error = known(refusal, status, text)
        if error is not None:
            return error
    return _by_status(refusal, status, text)


def _provider_error(refusal: Refusal, status: int | None, text: str) -> TurnError | None:
    if status not in (None, 401, 403) or not _NO_PROVIDER.search(text):
        return None
    if _MODEL_FORBIDDEN.match(text):
        return _not_permitted(refusal, text)
    # A 403 may be about the model alone.
    return NotReady(text) if status == 403 else LoginLost(text)


def _limit_error(refusal: Refusal, status: int | None, text: str) -> TurnError | None:
    """A limit that passes by itself. A used-up one is told with its reset, by an event or in the text."""
    limit = refusal.limit
    rejected = limit.get("status") == "rejected"
    told = limit.get("resetsAt") if rejected else None
    resets_at: float | None = told if isinstance(told, int | float) else None
    spent = status in (None, 400, 429) and _USAGE_LIMIT.match(_sentence(text)) is not None
    if spent and resets_at is None:
        if account_advice(_sentence(text)):
            return None
        resets_at = reset_time(text, refusal.now)
        if resets_at is None:
            return UsageLimitReached(text)
    if resets_at is not None and (spent or rejected):
        when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(resets_at))
        return RateLimited(
            f"{text} (the limit resets at {when})", retry_after=max(0.0, resets_at - refusal.now)
        )
    return None


def _account_error(refusal: Refusal, status: int | None, text: str) -> TurnError | None:
    """What the account's plan, its credit or its organization forbids."""
    sentence = _sentence(text)
    advice = account_advice(sentence) if status in (None, 400, 402, 403, 429) else None
    if advice is None and refusal.kind not in _ACCOUNT_KINDS:
        return None
    return AccountProblem(f"{sentence.rstrip('.')}. {advice or refusal.advice.account()}")


def _login_error(refusal: Refusal, status: int | None, text: str) -> TurnError | None:
    sentence, advice = _sentence(text), refusal.advice
    if text.startswith("Not logged in"):
        if status is None:
            return LoginLost(advice.not_logged_in())
        # So the CLI puts an API's answer that names the header of keys.
        sentence = f"it answered {status}"
    if status == 401 or (status == 403 and _REVOKED.match(sentence)):
        return LoginRefused(advice.refused(sentence))
    if status in (400, 402) and refusal.kind == "authentication_failed":
        # The login has expired, and the CLI tried another credential in its place.
        return LoginLost(advice.refused(sentence))
    if status is not None:
        return None
    if _LOGIN_REFUSED.match(sentence):
        return LoginRefused(advice.refused(sentence))
    if refusal.kind == "authentication_failed" or _LOGIN_LOST.match(sentence):
        return LoginLost(advice.refused(sentence))
    if sentence.startswith("Failed to refresh OAuth token"):
        # Another process is at it, or what it got can't be kept; the text says which.
        return Overloaded(text) if refusal.kind == "server_error" else LoginLost(text)
    return None


def _by_status(refusal: Refusal, status: int | None, text: str) -> TurnError:
    if status == 403 or (status == 400 and _MODEL_FORBIDDEN.match(text)):
        return _not_permitted(refusal, text)
    if status == 429 or refusal.limit.get("status") == "rejected":
        return RateLimited(text)
    if status == 404:
        known = " GET /v1/models lists names to choose from."
        return ModelNotFound(_TERMINAL.sub("", text) + known, param="model")
    if status == 402:
        return AccountProblem(f"{_sentence(text).rstrip('.')}. {refusal.advice.account()}")
    if status == 413:
        return RequestTooLarge(text)
    if status == 400 and _THOUGHTS_REFUSED.match(_sentence(text)):
        return ThoughtsRefused(text)
    if status == 400 and _THOUGHTS_MISSING.match(_sentence(text)):
        return ThoughtsMissing(text)
    if status is not None:
        return Overloaded(text) if status >= 500 else InvalidRequest(text)
    sentence = _sentence(text)
    if _UNREACHABLE.match(sentence):
        return ApiUnreachable(refusal.advice.unreachable(sentence))
    return Overloaded(text) if sentence == "Overloaded" else CliFailed(text)


def _not_permitted(refusal: Refusal, text: str) -> ModelNotPermitted:
    model = "the default model" if refusal.model is None else f"the model '{refusal.model}'"
    return ModelNotPermitted(
        f"This login or API key may not use {model}: {_sentence(text).rstrip('.')}. Name another model (GET "
        "/v1/models lists them), or have it permitted in the settings of the account or workspace.",
        param="model",
    )


def _sentence(text: str) -> str:
    """The API's sentence, or the CLI's, without what was put around it for a terminal."""
    return _TERMINAL.sub("", _PREFIX.sub("", text, count=1)) or text


def error_from_exit(code: int | None, stderr: str, advice: LoginAdvice | None = None) -> TurnError:
    """The error that a process's end before its result means. `code`: negative for a signal; `stderr`: with
    its secrets redacted."""
    advice = advice or LoginAdvice()
    for line in map(str.strip, stderr.splitlines()):
        if "No conversation found" in line:
            return SessionLost(line)
        if "unknown option" in line:
            return NotReady(f"The claude CLI is too old for this server: {line} Update it.")
        if "Not logged in" in line:
            return LoginLost(advice.not_logged_in())
        if "Invalid API key" in line:
            return LoginLost(advice.refused(_sentence(line)))
    how = "ended" if code is None else f"ended with status {code}"
    if code is not None and code < 0:
        how = f"was killed by signal {-code}"
    last = next((line.strip() for line in reversed(stderr.splitlines()) if line.strip()), "")
    return CliFailed(
        f"The claude CLI {how} before the turn was complete.{' It said: ' + last[:300] if last else ''}"
    )
