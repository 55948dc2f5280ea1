"""Jobs and schedules inside a server's process: where there is no Redis, and in development."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from servey.jobs.memory import MemoryQueue
from servey.jobs.schedule import schedules_of
from servey.jobs.scheduler import LocalSlots, run_schedules

if TYPE_CHECKING:
    from servey.runtime import Runtime

logger = logging.getLogger("servey")


@asynccontextmanager
async def jobs_here(runtime: Runtime) -> AsyncIterator[None]:
    """Runs the jobs of a queue that is inside the process."""
    queue = runtime.queue if runtime.settings.redis_url is None else None
    if not isinstance(queue, MemoryQueue):
        yield
        return
    async with queue.working(runtime):
        yield


@asynccontextmanager
async def jobs_and_schedules_here(runtime: Runtime) -> AsyncIterator[None]:
    """Runs jobs and schedules, unless workers do: with Redis they do, but in development one process does it all."""
    settings = runtime.settings
    async with AsyncExitStack() as stack:
        if settings.redis_url is None:
            await stack.enter_async_context(jobs_here(runtime))
            await stack.enter_async_context(_schedules_here(runtime))
        elif settings.is_dev:
            from servey.jobs.worker import working

            await stack.enter_async_context(working(runtime))
        yield


@asynccontextmanager
async def _schedules_here(runtime: Runtime) -> AsyncIterator[None]:
    schedules = schedules_of(runtime)
    if not schedules:
        yield
        return
    running = asyncio.create_task(run_schedules(runtime, schedules, LocalSlots()))
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait({running})
