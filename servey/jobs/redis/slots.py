"""Slots of schedules in Redis, shared by any number of processes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

from redis.exceptions import RedisError

from servey.jobs.redis.leases import Lease, LeaseKeeper
from servey.jobs.redis.queue import RedisQueue
from servey.jobs.scheduler import Grant

logger: logging.Logger = logging.getLogger("servey")

_SLOT_KEPT_MS = 600_000

TAKE_SLOT = """
local slot, running, skipped = KEYS[1], KEYS[2], KEYS[3]
local token, keep, hold = ARGV[1], ARGV[2], ARGV[3]
if redis.call('SISMEMBER', skipped, ARGV[4]) == 1 then return 0 end
if not redis.call('SET', slot, token, 'NX', 'PX', keep) then return 0 end
if redis.call('SET', running, token, 'NX', 'PX', hold) then return 1 end
return 2
"""

HOLD_SLOT = """
local known = redis.call('GET', KEYS[1])
if known and known ~= ARGV[1] then return 0 end
-- unlike SET, a full Redis allows it
if known then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
-- a renewal that was on its way when the run ended must not start it again
if redis.call('GET', KEYS[2]) ~= 'left' then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
return 1
"""

LEAVE_SLOT = """
redis.call('SET', KEYS[2], 'left', 'PX', ARGV[2])
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""


class RedisSlots:
    """A key for each slot, and one for each schedule that runs; the latter is held like a lease.

    ``running`` is entered while a slot's schedule runs.
    """

    def __init__(
        self, queue: RedisQueue, keeper: LeaseKeeper, running: Callable[[], AbstractAsyncContextManager[None]]
    ) -> None:
        self._queue = queue
        self._keeper = keeper
        self._running = running

    @asynccontextmanager
    async def take(self, schedule: str, slot_ms: int, hold: float, longest: float) -> AsyncIterator[Grant]:
        """Yield whether this process may run the slot. No process may while it is paused or Redis does not answer."""
        queue, token = self._queue, uuid4().hex
        hold_ms, begun = round(hold * 1000), time.monotonic()
        # A slot's key outlives any stall of a process, so that a late process does not run the slot again.
        slot, running = f"{queue.prefix}slot:{schedule}:{slot_ms}", f"{queue.prefix}running:{schedule}"
        try:
            taken = await queue.scripts.run_on(
                TAKE_SLOT, [slot, running, queue.skipped_schedules], [token, _SLOT_KEPT_MS, hold_ms, schedule]
            )
        except (RedisError, OSError) as error:
            logger.warning("schedule '%s' skips a slot, since Redis does not answer: %s", schedule, error)
            taken = 0
        if taken != 1:
            yield "overlaps" if taken else "refused"
            return
        task = asyncio.current_task()
        assert task is not None
        until = time.monotonic() + longest
        lease = Lease(HOLD_SLOT, [running, slot], [token, hold_ms], hold / 3, until, lambda _: _cancel(task))
        try:
            with self._keeper.holding(lease):
                async with self._running():
                    yield "granted"
        finally:
            with suppress(RedisError, OSError):
                if time.monotonic() - begun < hold / 3:
                    # The lease was never renewed and has not expired, so the key belongs to this run.
                    await queue.client.delete(running)
                else:
                    await queue.scripts.run_on(LEAVE_SLOT, [running, slot], [token, _SLOT_KEPT_MS])


def _cancel(run: asyncio.Task[Any]) -> None:
    run.cancel()
