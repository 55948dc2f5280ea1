"""Limits how often a login may fail: counted in memory, or in the Redis that processes share."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeAlias

from servey.core.errors import ActionError, Overloaded
from servey.core.settings import Settings

SECONDS = 60
"""How long a failure counts, from the first of its key."""
OF_NAME_AND_CALLER = 5
OF_CALLER = 20
OF_NAME = 50
"""How many logins may fail: of one name by one caller, of one caller, and of one name by all callers."""
MAX_WAITING = 100
_MAX_KEYS = 10_000

Limits: TypeAlias = Sequence[tuple[str, int]]
"""Keys, each with the number of failures that it may have."""


class Counts(Protocol):
    """Counts failures by key."""

    async def take(self, limits: Limits) -> float:
        """Count one failure for every key, unless one is at its limit; return 0, or the seconds until it counts again."""
        ...

    async def give_back(self, limits: Limits) -> None:
        """Take back one failure of every key."""
        ...


class CountsInMemory:
    """The failures that this process has seen."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: dict[str, tuple[int, float]] = {}

    async def take(self, limits: Limits) -> float:
        now = self._clock()
        left = [end - now for key, limit in limits for count, end in [self._at(key, now)] if count >= limit]
        if left:
            return max(left)
        for key, _ in limits:
            count, end = self._at(key, now)
            self._counts[key] = count + 1, end
        while len(self._counts) > _MAX_KEYS:
            del self._counts[next(iter(self._counts))]
        return 0

    async def give_back(self, limits: Limits) -> None:
        for key, _ in limits:
            count, end = self._counts.pop(key, (0, 0.0))
            if count > 1:
                self._counts[key] = count - 1, end

    def _at(self, key: str, now: float) -> tuple[int, float]:
        count, end = self._counts.get(key, (0, 0.0))
        if end > now:
            return count, end
        self._counts.pop(key, None)
        return 0, now + SECONDS


_TAKE = """
local wait = 0
for i, key in ipairs(KEYS) do
  if tonumber(redis.call('get', key) or '0') >= tonumber(ARGV[i + 1]) then
    wait = math.max(wait, redis.call('pttl', key), 1)
  end
end
if wait > 0 then return wait end
for _, key in ipairs(KEYS) do
  if redis.call('incr', key) == 1 then redis.call('pexpire', key, ARGV[1]) end
end
return 0
"""
_GIVE_BACK = """
for _, key in ipairs(KEYS) do
  if redis.call('exists', key) == 1 and redis.call('decr', key) <= 0 then redis.call('del', key) end
end
"""


class CountsInRedis:
    """The failures that all processes have seen. Errors of its methods: Overloaded while Redis does not answer."""

    def __init__(self, url: str, prefix: str) -> None:
        # Redis is an extra.
        from redis.asyncio import Redis

        from servey.compat.redis import cancellable
        from servey.compat.redis_location import async_pool

        pool = async_pool(url, prefix, socket_timeout=2, socket_connect_timeout=2)
        self._client: Any = cancellable(Redis.from_pool(pool))
        self._prefix = prefix

    async def take(self, limits: Limits) -> float:
        numbers = [SECONDS * 1000, *(limit for _, limit in limits)]
        return float(await self._run(_TAKE, limits, numbers)) / 1000

    async def give_back(self, limits: Limits) -> None:
        await self._run(_GIVE_BACK, limits, [])

    async def _run(self, script: str, limits: Limits, numbers: Sequence[int]) -> Any:
        from redis.exceptions import RedisError

        keys = [f"{self._prefix}login:{key}" for key, _ in limits]
        try:
            return await self._client.eval(script, len(keys), *keys, *numbers)
        except (RedisError, OSError) as error:
            raise Overloaded("Logins cannot be counted; try again shortly") from error

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


class Throttle:
    """Refuses logins after too many that failed.

    A login in progress counts as a possible failure, so concurrent logins cannot exceed a limit: the others wait for it.
    """

    def __init__(self, settings: Settings | None = None, counts: Counts | None = None) -> None:
        self._redis_url = None if settings is None else settings.redis_url
        self._prefix = "" if settings is None else settings.redis_prefix
        self._counts: Counts = counts or CountsInMemory()
        self._shared: dict[asyncio.AbstractEventLoop, CountsInRedis] = {}
        self._running: dict[str, int] = {}
        self._waiting: dict[asyncio.Future[None], str] = {}

    @asynccontextmanager
    async def running(self, process: object) -> AsyncIterator[None]:
        """Share the counts over Redis, if there is one, while the app runs."""
        if self._redis_url is None:
            yield
            return
        loop = asyncio.get_running_loop()
        self._shared[loop] = shared = CountsInRedis(self._redis_url, self._prefix)
        try:
            yield
        finally:
            self._shared.pop(loop, None)
            await shared.aclose()

    @asynccontextmanager
    async def one_try(self, caller: str, name: str) -> AsyncIterator[Callable[[], None]]:
        """Hold a place for one login; call what it yields if the login has succeeded.

        Errors: ActionError 429 with ``Retry-After``; Overloaded if too many logins wait, or Redis does not answer.
        """
        limits = limits_of(caller, name)
        counts: Counts = self._shared.get(asyncio.get_running_loop(), self._counts)
        pair = limits[0][0]
        while wait := await counts.take(limits):
            if not self._running.get(pair):
                headers = {"Retry-After": str(int(wait) + 1)}
                raise ActionError(429, "http_429", "Too many wrong tries", headers=headers)
            await self._wait(pair)
        self._running[pair] = self._running.get(pair, 0) + 1
        succeeded = False

        def succeed() -> None:
            nonlocal succeeded
            succeeded = True

        try:
            yield succeed
        finally:
            try:
                if succeeded:
                    await counts.give_back(limits)
            finally:
                self._leave(pair)

    async def _wait(self, pair: str) -> None:
        if len(self._waiting) >= MAX_WAITING:
            raise Overloaded("Too many logins at once; try again shortly")
        waiter = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = pair
        try:
            await waiter
        finally:
            del self._waiting[waiter]

    def _leave(self, pair: str) -> None:
        self._running[pair] -= 1
        if not self._running[pair]:
            del self._running[pair]
        for waiter, of in self._waiting.items():
            if of == pair and not waiter.done():
                waiter.get_loop().call_soon_threadsafe(_wake, waiter)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def limits_of(caller: str, name: str) -> Limits:
    """Return the keys that a login counts for. Names are hashed, so that they are bounded and nobody reads them."""
    network = _network_of(caller)
    hashed = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return (
        (f"{network}:{hashed}", OF_NAME_AND_CALLER),
        (f"caller:{network}", OF_CALLER),
        (f"name:{hashed}", OF_NAME),
    )


def _network_of(caller: str) -> str:
    """Return the address, or for IPv6 the network of 64 bits, which one caller can have whole."""
    try:
        address = ipaddress.ip_address(caller)
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.ip_network((address, 64), strict=False).network_address)
        address = address.ipv4_mapped  # a server that listens on IPv6 sees callers by IPv4 so
    return str(address)
