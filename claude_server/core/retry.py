"""The retry policy: whether a failed attempt is repeated, and after how long. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from claude_server.core.errors import InvalidAnswer, LoginRefused, RateLimited, TurnError

BACKOFF_CAP = 60.0
# Seconds. A longer rate limit is for the client to wait out.
LONGEST_LIMIT = 60.0
JITTER = 0.2


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """At most `retries` after the first attempt. Retry n waits min(60, base * 2^(n-1)) seconds, shortened by
    jitter."""

    retries: int
    base: float

    def delay(self, error: TurnError, failures: int, jitter: float) -> float | None:
        """Seconds to wait after failure number `failures` (1 is the first), or None: give up.

        `jitter` is a random number in [0, 1). A retry never comes before the time that the limit named.
        """
        if not error.retryable or failures > self.retries:
            return None
        if isinstance(error, InvalidAnswer):
            # Waiting doesn't help; one more answer is worth its tokens.
            return 0.0 if failures == 1 else None
        if isinstance(error, LoginRefused) and error.retry_after is not None:
            return error.retry_after
        wait = min(BACKOFF_CAP, self.base * 2.0 ** (failures - 1)) * (1 - JITTER * jitter)
        if isinstance(error, RateLimited) and error.retry_after is not None:
            if error.retry_after > LONGEST_LIMIT:
                return None
            return max(wait, error.retry_after)
        return wait
