"""Clients of the Redis that holds jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import (
    ClusterDownError,
    ConnectionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,
    TryAgainError,
)

from servey.compat.redis import cancellable
from servey.compat.redis_location import async_pool
from servey.core.errors import ConfigError

T = TypeVar("T")

BLOCK_SECONDS = 20
"""How long one blocking read waits."""
_PASSING = (OutOfMemoryError, ReadOnlyError, TryAgainError, ClusterDownError)
_PASSING_CODES = (
    "OOM",
    "READONLY",
    "LOADING",
    "MISCONF",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "NOREPLICAS",
    "TRYAGAIN",
    "BUSY",
)
"""What a Redis that is full, read-only or starting answers: the same call may succeed later. The client removes the code of
an error that has a class, but not of one within a result."""


def client_of(url: str, prefix: str) -> redis.Redis:
    """Return a client that retries for a moment. Errors: ConfigError for an invalid URL."""
    return _client_of(
        url,
        prefix,
        socket_timeout=5,
        health_check_interval=10,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), 3),
        retry_on_error=[ConnectionError, TimeoutError],
    )


def blocking_client_of(url: str, prefix: str) -> redis.Redis:
    """Return a client for reads that block for `BLOCK_SECONDS`. Errors: ConfigError for an invalid URL."""
    return _client_of(url, prefix, socket_timeout=BLOCK_SECONDS + 5)


def _client_of(url: str, prefix: str, **options: Any) -> redis.Redis:
    try:
        pool = async_pool(url, prefix, socket_connect_timeout=2, **options)
        client: redis.Redis = cancellable(redis.Redis.from_pool(pool))
        return client
    except ValueError as error:
        raise ConfigError(f"setting SERVEY_REDIS_URL: {error}") from None


class Scripts:
    """Runs Lua scripts, each of which is sent to Redis once."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._known: dict[str, Any] = {}

    async def run(self, script: str, *args: Any) -> Any:
        """Run a script of `servey.jobs.redis.scripts`, whose only key is the app's prefix. Errors: redis.RedisError."""
        return await self.run_on(script, [self._prefix], args)

    async def run_on(self, script: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run a script with keys of its own. Errors: redis.RedisError."""
        known = self._known.get(script)
        if known is None:
            known = self._known[script] = self._client.register_script(script)
        return await known(keys=keys, args=args)


async def keep_trying(call: Callable[[], Awaitable[T]]) -> T:
    """Return the result of a call to Redis; retry for as long as Redis does not answer or refuses writes."""
    wait = 0.05
    while True:
        try:
            return await call()
        except (ConnectionError, TimeoutError, OSError):
            pass
        except ResponseError as error:
            if not isinstance(error, _PASSING) and not str(error).startswith(_PASSING_CODES):
                raise
        await asyncio.sleep(wait)
        wait = min(wait * 2, 2)
