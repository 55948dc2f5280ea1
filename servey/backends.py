"""Where results are kept on the server: fastapi-cache2's backends, bounded in memory and careful with Redis.

Nothing else of fastapi-cache2 is used: its decorator gives one caller what belongs to another.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

from fastapi_cache.backends.redis import RedisBackend as PlainRedisBackend
from fastapi_cache.types import Backend
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LostConnectionError

from servey.compat.redis import cancellable

SLOWEST_SECONDS = 1.5
CONNECTIONS = 20


class MemoryBackend(Backend):
    """A backend in this process's memory; what was asked for longest ago makes room."""

    def __init__(self, max_entries: int, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._bytes = 0

    @property
    def size(self) -> tuple[int, int]:
        """How many entries it has, and how many bytes they are."""
        return len(self._entries), self._bytes

    async def get_with_ttl(self, key: str) -> tuple[int, bytes | None]:
        """What is kept, and the whole seconds that it has left; -1 for one that has no end."""
        expires, value = self._entries.get(key, (0, None))
        left = expires - self._clock()
        if left <= 0:
            self._drop(key)
            return 0, None
        self._entries.move_to_end(key)
        return (-1 if left == inf else int(left)), value

    async def get(self, key: str) -> bytes | None:
        """What is kept, or None."""
        return (await self.get_with_ttl(key))[1]

    async def set(self, key: str, value: bytes, expire: float | None = None) -> None:
        """Keeps a value for so many seconds; one that is larger than all there is room for is not kept."""
        self._drop(key)
        size = len(key) + len(value)
        if size > self._max_bytes:
            return
        self._entries[key] = (inf if expire is None else self._clock() + expire), value
        self._bytes += size
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    async def clear(self, namespace: str | None = None, key: str | None = None) -> int:
        """Forgets one key, or all that begin with ``namespace:``; gives how many there were."""
        found = [each for each in self._entries if each == key or (namespace and each.startswith(f"{namespace}:"))]
        for each in found:
            self._drop(each)
        return len(found)

    def _drop(self, key: str) -> None:
        if key in self._entries:
            self._bytes -= len(key) + len(self._entries.pop(key)[1])


_UNLOCK = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
_EXTEND = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end return 0"


class RedisBackend(PlainRedisBackend):
    """A backend that processes share, with locks; it never waits long for a Redis that does not answer."""

    def __init__(self, url: str) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=SLOWEST_SECONDS,
            socket_connect_timeout=SLOWEST_SECONDS,
            socket_timeout=SLOWEST_SECONDS,
            # A connection that was lost while no one used it is made anew, once.
            retry=Retry(NoBackoff(), 1),
            retry_on_error=[LostConnectionError],
        )
        self.client: Redis = cancellable(Redis.from_pool(pool))
        super().__init__(self.client)

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """What is kept under each of several keys."""
        found: list[bytes | None] = await self.client.mget(keys)
        return found

    async def set(self, key: str, value: bytes, expire: float | None = None) -> None:
        """Keeps a value for so many seconds."""
        await self.client.set(key, value, px=None if expire is None else max(1, int(expire * 1000)))

    async def clear(self, namespace: str | None = None, key: str | None = None) -> int:
        """Forgets one key, or all that begin with ``namespace:``, some at a time; gives how many there were."""
        if key is not None:
            return int(await self.client.delete(key))
        found = 0
        pattern = "".join(f"\\{each}" if each in "*?[]\\" else each for each in namespace or "")
        async for each in self.client.scan_iter(match=f"{pattern}:*", count=500):
            found += await self.client.unlink(each)
        return found

    async def lock(self, key: str, owner: str, seconds: float) -> bool:
        """Takes a lock for so long, unless somebody has it."""
        return bool(await self.client.set(key, owner, nx=True, px=int(seconds * 1000)))

    async def extend(self, key: str, owner: str, seconds: float) -> bool:
        """Keeps a lock for so long from now on, if its owner still has it."""
        return bool(await self._run(_EXTEND, key, owner, int(seconds * 1000)))

    async def unlock(self, key: str, owner: str) -> bool:
        """Gives a lock back, if its owner still has it."""
        return bool(await self._run(_UNLOCK, key, owner))

    async def _run(self, script: str, key: str, *arguments: Any) -> Any:
        return await self.client.eval(script, 1, key, *arguments)  # type: ignore[misc]

    async def aclose(self) -> None:
        """Closes the connections."""
        await self.client.aclose(close_connection_pool=True)
