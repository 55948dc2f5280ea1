"""Cache backends with the interface of fastapi-cache2: bounded memory, and Redis with short timeouts.

Nothing else of fastapi-cache2 is used: its decorator does not separate callers.
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
from servey.compat.redis_location import async_pool

TIMEOUT_SECONDS = 1.5
CONNECTIONS = 20


class MemoryBackend(Backend):
    """A backend in the memory of this process that evicts the least recently used entry."""

    def __init__(self, max_entries: int, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._bytes = 0

    @property
    def size(self) -> tuple[int, int]:
        """The number of entries, and their total size in bytes."""
        return len(self._entries), self._bytes

    async def get_with_ttl(self, key: str) -> tuple[int, bytes | None]:
        """The remaining whole seconds, -1 for an entry without expiry, and the value."""
        expires, value = self._entries.get(key, (0, None))
        left = expires - self._clock()
        if left <= 0:
            self._drop(key)
            return 0, None
        self._entries.move_to_end(key)
        return (-1 if left == inf else int(left)), value

    async def get(self, key: str) -> bytes | None:
        """The value, or None."""
        return (await self.get_with_ttl(key))[1]

    def peek_many(self, keys: Sequence[str]) -> list[bytes | None] | None:
        """The values of several keys without waiting, or None if `get` is not the one of this class."""
        if type(self) is not MemoryBackend or not _GETTERS.keys().isdisjoint(vars(self)):
            return None
        if MemoryBackend.get is not _GETTERS["get"] or MemoryBackend.get_with_ttl is not _GETTERS["get_with_ttl"]:
            return None
        now, entries = self._clock(), self._entries
        values: list[bytes | None] = []
        for key in keys:
            expires, value = entries.get(key, (inf, None))
            if expires <= now:
                self._drop(key)
                value = None
            elif value is not None:
                entries.move_to_end(key)
            values.append(value)
        return values

    async def set(self, key: str, value: bytes, expire: float | None = None) -> None:
        """Store a value for ``expire`` seconds; a value over the size limit of the backend is not stored."""
        self._drop(key)
        size = len(key) + len(value)
        if size > self._max_bytes:
            return
        self._entries[key] = (inf if expire is None else self._clock() + expire), value
        self._bytes += size
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    async def clear(self, namespace: str | None = None, key: str | None = None) -> int:
        """Delete one key, or all that start with ``namespace:``; return their number."""
        found = [each for each in self._entries if each == key or (namespace and each.startswith(f"{namespace}:"))]
        for each in found:
            self._drop(each)
        return len(found)

    def _drop(self, key: str) -> None:
        if key in self._entries:
            self._bytes -= len(key) + len(self._entries.pop(key)[1])


_GETTERS = {"get": MemoryBackend.get, "get_with_ttl": MemoryBackend.get_with_ttl}

_UNLOCK = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
_EXTEND = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end return 0"


class RedisBackend(PlainRedisBackend):
    """A backend that processes share, with locks and short timeouts."""

    def __init__(self, url: str, prefix: str = "") -> None:
        """``prefix`` begins every key."""
        pool = async_pool(
            url,
            prefix,
            BlockingConnectionPool,
            max_connections=CONNECTIONS,
            timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            socket_timeout=TIMEOUT_SECONDS,
            # Reconnects once if an idle connection was lost.
            retry=Retry(NoBackoff(), 1),
            retry_on_error=[LostConnectionError],
        )
        self.client: Redis = cancellable(Redis.from_pool(pool))
        super().__init__(self.client)

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The values of several keys."""
        found: list[bytes | None] = await self.client.mget(keys)
        return found

    async def set(self, key: str, value: bytes, expire: float | None = None) -> None:
        """Store a value for ``expire`` seconds."""
        await self.client.set(key, value, px=None if expire is None else max(1, int(expire * 1000)))

    async def clear(self, namespace: str | None = None, key: str | None = None) -> int:
        """Delete one key, or all that start with ``namespace:``, in batches; return their number."""
        if key is not None:
            return int(await self.client.delete(key))
        found = 0
        pattern = "".join(f"\\{each}" if each in "*?[]\\" else each for each in namespace or "")
        async for each in self.client.scan_iter(match=f"{pattern}:*", count=500):
            found += await self.client.unlink(each)
        return found

    async def lock(self, key: str, owner: str, seconds: float) -> bool:
        """Acquire a lock for some seconds; False if it is held."""
        return bool(await self.client.set(key, owner, nx=True, px=int(seconds * 1000)))

    async def extend(self, key: str, owner: str, seconds: float) -> bool:
        """Extend a lock, if ``owner`` still holds it."""
        return bool(await self._run(_EXTEND, key, owner, int(seconds * 1000)))

    async def unlock(self, key: str, owner: str) -> bool:
        """Release a lock, if ``owner`` still holds it."""
        return bool(await self._run(_UNLOCK, key, owner))

    async def _run(self, script: str, key: str, *arguments: Any) -> Any:
        return await self.client.eval(script, 1, key, *arguments)  # type: ignore[misc]

    async def aclose(self) -> None:
        """Close the connections."""
        await self.client.aclose(close_connection_pool=True)
