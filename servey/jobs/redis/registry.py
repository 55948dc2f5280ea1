"""Which worker processes there are: each says every few seconds that it is there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

from pydantic_core import to_json
from redis.exceptions import RedisError

from servey.jobs.redis.library import LIBRARY
from servey.jobs.redis.queue import WORKERS_KEPT_MS, RedisQueue

_SAY_SECONDS = 5.0

NOTE_WORKER = (
    LIBRARY
    + """
local workers, now, kept = P .. 'workers', now_ms(), tonumber(ARGV[2])
call('ZADD', workers, text(now), ARGV[1])
call('ZREMRANGEBYSCORE', workers, '-inf', text(now - kept))
call('PEXPIRE', workers, text(kept))
return 1
"""
)


class Presence:
    """Says that a worker is there, while it is. A Redis that does not answer or is full does not hear it."""

    def __init__(self, queue: RedisQueue, name: str, at_once: int, queues: Sequence[str] | None) -> None:
        self._queue = queue
        facts = {"name": name, "at_once": at_once, "queues": queues, "began_at": round(time.time())}
        self._facts: bytes = to_json(facts)
        self._said_at = -_SAY_SECONDS

    async def say(self) -> None:
        """Say it again if the last time was some seconds ago."""
        if time.monotonic() - self._said_at < _SAY_SECONDS:
            return
        self._said_at = time.monotonic()
        with suppress(RedisError, OSError):
            await self._queue.scripts.run(NOTE_WORKER, self._facts, WORKERS_KEPT_MS)

    async def leave(self) -> None:
        """Say that the worker ends."""
        with suppress(RedisError, OSError):
            await self._queue.client.zrem(f"{self._queue.prefix}workers", self._facts)
