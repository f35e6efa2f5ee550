"""What a test says the API answers: plain frozen values, rendered by `claude_server.standin.render`.

An `Answer` is one of `Reply`, `ApiError`, `Cut`, `Silence` and `StreamError`. All times are in seconds,
all lengths in characters (Python code points).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "ERROR_TYPES",
    "Answer",
    "ApiError",
    "Block",
    "Cut",
    "RedactedThinking",
    "Reply",
    "Silence",
    "StreamError",
    "Text",
    "Thinking",
    "ToolUse",
]

# Status to the error type that Anthropic documents for it. Any other 4xx is an invalid_request_error,
# any other 5xx an api_error.
ERROR_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}

_ERROR_MESSAGES: Mapping[int, str] = {
    400: "Bad request",
    401: "invalid x-api-key",
    402: "Your credit balance is too low to access the Anthropic API.",
    403: "Your API key does not have permission to use the specified resource.",
    404: "Not found",
    413: "Request exceeds the maximum size",
    429: "This request would exceed your organization's rate limit of 50 requests per minute.",
    500: "Internal server error",
    504: "Request timed out",
    529: "Overloaded",
}


@dataclass(frozen=True)
class Text:
    """A text block. `chunk` overrides the reply's `chunk_chars` for this block."""

    text: str
    chunk: int | None = None


@dataclass(frozen=True)
class Thinking:
    """A thinking block; the signature follows the text in a delta of its own.

    signature: None issues one for the text. One that a script makes up is sent, and refused when it comes
        back.
    """

    text: str
    signature: str | None = None
    chunk: int | None = None


@dataclass(frozen=True)
class RedactedThinking:
    """A thinking block whose content the API keeps to itself; it has no deltas.

    data: None issues some; what a script makes up is refused when it comes back.
    """

    data: str | None = None


@dataclass(frozen=True)
class ToolUse:
    """A tool call. Without `id` a fresh `toolu_...` is made up for every answer."""

    name: str
    input: Mapping[str, Any] = field(default_factory=dict)
    id: str | None = None
    chunk: int | None = None


Block = Text | Thinking | RedactedThinking | ToolUse


@dataclass(frozen=True)
class Reply:
    """A good answer.

    stop_reason: None is derived: tool_use if there is a `ToolUse`, else end_turn. The request's own
        `max_tokens` and `stop_sequences` win over both, as in the API.
    stop_sequence: what the API would name beside `stop_reason="stop_sequence"`.
    first_delay: seconds before the first byte (the status line included).
    delay: seconds between two content deltas.
    linger: seconds for which a stream stays open after its last event.
    chunk_chars: size of a delta; None puts every block into one.
    output_tokens: None is estimated from the text; a number is reported as it is, up to `max_tokens`.
    max_tokens: the answer is cut there, whatever the request allows. So a tool call can end half-way.
    stop_details: what the API adds when it refuses, e.g. {"type": "refusal", "category": "cyber"}.
    headers: sent beside the API's usual ones, or instead of one of the same name (lower case).
    """

    blocks: Sequence[Block] = ()
    stop_reason: str | None = None
    stop_sequence: str | None = None
    first_delay: float = 0.0
    delay: float = 0.0
    linger: float = 0.0
    chunk_chars: int | None = 24
    output_tokens: int | None = None
    max_tokens: int | None = None
    stop_details: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, *blocks: str | Block, **options: Any) -> Reply:
        """`Reply.of("hello")`: strings become `Text`; `options` are the fields above."""
        made: tuple[Block, ...] = tuple(Text(b) if isinstance(b, str) else b for b in blocks)
        return cls(blocks=made, **options)


@dataclass(frozen=True)
class ApiError:
    """An HTTP error in Anthropic's shape: {"type": "error", "error": {"type", "message"}, "request_id"}.

    `type` and `message` are derived from the status when they are None.
    """

    status: int
    type: str | None = None
    message: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    first_delay: float = 0.0

    @property
    def error_type(self) -> str:
        default = "invalid_request_error" if self.status < 500 else "api_error"
        return self.type if self.type is not None else ERROR_TYPES.get(self.status, default)

    @property
    def text(self) -> str:
        return self.message if self.message is not None else _ERROR_MESSAGES.get(self.status, "Error")

    @classmethod
    def bad_request(cls, message: str = "Bad request") -> ApiError:
        return cls(400, message=message)

    @classmethod
    def prompt_too_long(cls, tokens: int = 210_000, maximum: int = 200_000) -> ApiError:
        return cls(400, message=f"prompt is too long: {tokens} tokens > {maximum} maximum")

    @classmethod
    def unauthorized(cls) -> ApiError:
        return cls(401)

    @classmethod
    def forbidden(cls) -> ApiError:
        return cls(403)

    @classmethod
    def model_not_found(cls, model: str) -> ApiError:
        return cls(404, message=f"model: {model}")

    @classmethod
    def too_large(cls) -> ApiError:
        return cls(413)

    @classmethod
    def rate_limited(cls, retry_after: int = 1) -> ApiError:
        """The limit of a plain API key; `retry_after` in whole seconds."""
        return cls(429, headers={"retry-after": str(retry_after)})

    @classmethod
    def subscription_limit(
        cls, *, resets_at: int, claim: str = "five_hour", retry_after: int | None = None
    ) -> ApiError:
        """The used-up limit of a subscription, as the `anthropic-ratelimit-unified-*` headers tell it.

        resets_at: Unix time in seconds. claim: five_hour, seven_day, seven_day_opus, ...
        """
        headers = unified_limit_headers(status="rejected", resets_at=resets_at, claim=claim, utilization=1.0)
        if retry_after is not None:
            headers["retry-after"] = str(retry_after)
        message = "This request would exceed your account's rate limit. Please try again later."
        return cls(429, message=message, headers=headers)

    @classmethod
    def long_context_needs_extra_usage(cls) -> ApiError:
        """A subscription whose plan doesn't pay for a prompt of this length."""
        return cls(429, message="Extra usage is required for long context requests.")

    @classmethod
    def out_of_extra_usage(cls) -> ApiError:
        """A subscription that has used up what it pays for beyond its plan."""
        return cls(
            400, message="You're out of extra usage. Add more at claude.ai/settings/usage to continue."
        )

    @classmethod
    def server_error(cls) -> ApiError:
        return cls(500)

    @classmethod
    def overloaded(cls) -> ApiError:
        return cls(529)


def unified_limit_headers(
    *, status: str, resets_at: int, claim: str = "five_hour", utilization: float = 0.5
) -> dict[str, str]:
    """A subscription's limit headers; put on a `Reply` with status allowed or allowed_warning.

    status: allowed, allowed_warning or rejected. resets_at: Unix time in seconds. utilization: 0 to 1.
    """
    prefix = "anthropic-ratelimit-unified"
    window = "5h" if claim == "five_hour" else "7d"
    return {
        f"{prefix}-status": status,
        f"{prefix}-reset": str(resets_at),
        f"{prefix}-representative-claim": claim,
        f"{prefix}-{window}-status": status,
        f"{prefix}-{window}-reset": str(resets_at),
        f"{prefix}-{window}-utilization": str(utilization),
    }


@dataclass(frozen=True)
class Cut:
    """The connection breaks off: no message_stop, no end of the response.

    chars: after that many characters of content (0: right after message_start); None: before the first
        byte, so the client sees a connection that was closed without an answer.
    """

    after: Reply = field(default_factory=lambda: Reply.of("This answer breaks off before its end."))
    chars: int | None = 8


@dataclass(frozen=True)
class Silence:
    """The request is taken and then nothing comes, until the client leaves or the time is up.

    seconds: then the connection is closed as in `Cut`; None: for as long as the stand-in lives.
    chars: how much of `after` is sent before; None: nothing at all, not even the status line.
    """

    seconds: float | None = None
    after: Reply = field(default_factory=lambda: Reply.of("This answer falls silent before its end."))
    chars: int | None = None


@dataclass(frozen=True)
class StreamError:
    """An `event: error` in the stream after `chars` characters of content; the response ends properly.

    chars: 0 is right after message_start; None makes the error the first event of the stream.
    A request that doesn't stream gets the error with the status that belongs to its type.
    """

    after: Reply = field(default_factory=lambda: Reply.of("This answer meets an error before its end."))
    chars: int | None = 8
    type: str = "overloaded_error"
    message: str = "Overloaded"


Answer = Reply | ApiError | Cut | Silence | StreamError
