"""Rate counting in fixed windows of a minute."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import structlog
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import StorageError

# Seconds: pause after a Redis failure, and timeout of one operation; no request waits longer.
_REDIS_COOLDOWN = 10.0
_REDIS_TIMEOUT = 1.0

log = structlog.get_logger("guard")


class StorageMissing(Exception):
    """The library that the storage needs isn't installed."""


class FixedWindow:
    """Request counters, in memory or in a Redis that several servers share.

    While Redis fails, this server counts by itself, so that the limits still hold.
    """

    def __init__(self, redis_url: str | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._local = FixedWindowRateLimiter(MemoryStorage())
        self._clock = clock
        self._redis = None if redis_url is None else _Redis(redis_url)
        self._redis_retry_at = 0.0

    async def hit(self, amount: int, *names: str) -> float | None:
        """Count one under `names`. None if it is within `amount` a minute, else the seconds that are left."""
        if self._redis is not None and self._clock() >= self._redis_retry_at:
            try:
                return await _hit(self._redis.limiter, amount, names)
            except StorageError as error:
                self._redis_retry_at = self._clock() + _REDIS_COOLDOWN
                kind = type(error.storage_error).__name__
                log.error("rate limits are counted by this server alone: the storage failed", kind=kind)
        return await _hit(self._local, amount, names)

    async def close(self) -> None:
        """Close the connections to Redis."""
        if self._redis is not None:
            await self._redis.pool.disconnect()


class _Redis:
    """The library makes no end of its connections, so the pool is ours."""

    def __init__(self, url: str) -> None:
        try:
            from redis.asyncio import ConnectionPool
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff
        except ImportError:
            raise StorageMissing from None
        self.pool = ConnectionPool.from_url(
            url,
            socket_timeout=_REDIS_TIMEOUT,
            socket_connect_timeout=_REDIS_TIMEOUT,
            retry=Retry(NoBackoff(), 0),
        )
        # Its annotations leave out the pool, which its documentation names.
        options: Any = {"connection_pool": self.pool}
        storage = RedisStorage(f"async+{url}", wrap_exceptions=True, implementation="redispy", **options)
        self.limiter = FixedWindowRateLimiter(storage)


async def _hit(limiter: FixedWindowRateLimiter, amount: int, names: tuple[str, ...]) -> float | None:
    item = RateLimitItemPerMinute(amount)
    if await limiter.hit(item, *names):
        return None
    return (await limiter.get_window_stats(item, *names)).reset_time - time.time()
