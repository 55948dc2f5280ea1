"""Run jobs and schedules inside a server process: without Redis, and in development."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from servey.runtime.runtime import Runtime

logger: logging.Logger = logging.getLogger("servey")


@asynccontextmanager
async def jobs_here(runtime: Runtime) -> AsyncIterator[None]:
    """Run the jobs of the in-process queue."""
    from servey.jobs.in_process import run_jobs
    from servey.jobs.memory import MemoryQueue

    queue = runtime.queue if runtime.settings.redis_url is None else None
    if not isinstance(queue, MemoryQueue):
        yield
        return
    async with run_jobs(queue, runtime):
        yield


@asynccontextmanager
async def jobs_and_schedules_here(runtime: Runtime) -> AsyncIterator[None]:
    """Run jobs and schedules in this process, unless worker processes do (with Redis, in production)."""
    settings = runtime.settings
    async with AsyncExitStack() as stack:
        if settings.redis_url is None:
            await stack.enter_async_context(jobs_here(runtime))
            await stack.enter_async_context(_schedules_here(runtime))
        elif settings.is_dev:
            from servey.jobs.redis.worker import working

            await stack.enter_async_context(working(runtime))
        yield


@asynccontextmanager
async def _schedules_here(runtime: Runtime) -> AsyncIterator[None]:
    from servey.jobs.memory import MemoryQueue
    from servey.jobs.schedule import schedules_of
    from servey.jobs.scheduler import LocalSlots, run_schedules

    schedules = schedules_of(runtime)
    if not schedules:
        yield
        return
    queue = runtime.queue
    slots = LocalSlots(queue.skipped_schedules if isinstance(queue, MemoryQueue) else ())
    running = asyncio.create_task(run_schedules(runtime, schedules, slots))
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait({running})
