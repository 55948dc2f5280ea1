"""The cache of one process, with the interface of fastapi-cache2's backends.

Nothing else of fastapi-cache2 is used: its decorator does not separate callers.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import islice
from math import inf

from fastapi_cache.types import Backend


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

    async def keys(self, prefix: str, most: int) -> tuple[list[str], bool]:
        """Keys that begin with a prefix, and whether there may be more, since ``most`` keys were looked at."""
        now = self._clock()
        seen = [key for key, (expires, _) in islice(self._entries.items(), most) if expires > now]
        return [key for key in seen if key.startswith(prefix)], len(self._entries) > most

    def _drop(self, key: str) -> None:
        if key in self._entries:
            self._bytes -= len(key) + len(self._entries.pop(key)[1])


_GETTERS = {"get": MemoryBackend.get, "get_with_ttl": MemoryBackend.get_with_ttl}
