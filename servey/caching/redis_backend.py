"""The cache that processes share in Redis: fastapi-cache2's backend with locks and short timeouts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi_cache.backends.redis import RedisBackend as PlainRedisBackend
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LostConnectionError

from servey.compat.redis import cancellable
from servey.compat.redis_location import async_pool

TIMEOUT_SECONDS = 1.5
CONNECTIONS = 20
_SCANNED_AT_ONCE = 1000

_UNLOCK = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
_EXTEND = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end return 0"


def _beginning(prefix: str) -> str:
    """The pattern of keys that begin with a prefix."""
    return "".join(f"\\{each}" if each in "*?[]\\" else each for each in prefix) + "*"


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
        async for each in self.client.scan_iter(match=_beginning(f"{namespace or ''}:"), count=500):
            found += await self.client.unlink(each)
        return found

    async def keys(self, prefix: str, most: int) -> tuple[list[str], bool]:
        """Keys that begin with a prefix, and whether there may be more, since ``most`` keys were looked at."""
        found: set[str] = set()
        cursor, looked_at = 0, 0
        while True:
            cursor, some = await self.client.scan(cursor, match=_beginning(prefix), count=_SCANNED_AT_ONCE)
            found.update(each.decode(errors="replace") for each in some)
            looked_at += _SCANNED_AT_ONCE
            if cursor == 0 or looked_at >= most:
                return sorted(found), cursor != 0

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
