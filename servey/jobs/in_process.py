"""Runs the jobs of the in-process queue."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from servey.calls.supervise import supervise
from servey.core.errors import internal_error
from servey.core.queues import CancelRequest, JobState
from servey.jobs.memory import MemoryQueue
from servey.jobs.perform import after_failure, perform_job
from servey.observability.metrics import JOB_WAIT

if TYPE_CHECKING:
    from servey.runtime.runtime import Runtime

logger: logging.Logger = logging.getLogger("servey")


@asynccontextmanager
async def run_jobs(queue: MemoryQueue, runtime: Runtime) -> AsyncIterator[None]:
    """Run jobs until the block ends; then finish those that are due, within the grace period."""
    running: set[asyncio.Task[None]] = set()
    free = asyncio.Semaphore(queue.at_once)
    queue.has_worker = True
    worker = asyncio.create_task(supervise("jobs", lambda: _work(queue, runtime, free, running), runtime))
    try:
        yield
    finally:
        try:
            async with asyncio.timeout(queue.grace):
                await queue.until_idle()
        except TimeoutError:
            pass
        ending = [worker, *running]
        queue.has_worker = False
        for task in ending:
            task.cancel()
        await asyncio.wait(ending)
        if queue.unfinished:
            logger.warning(
                "jobs that are lost with this process: %d; with SERVEY_REDIS_URL they would be kept", queue.unfinished
            )


async def _work(
    queue: MemoryQueue, runtime: Runtime, free: asyncio.Semaphore, running: set[asyncio.Task[None]]
) -> None:
    def start(state: JobState) -> None:
        request = CancelRequest()
        late = max(0.0, runtime.clock.now() - state.due_at)
        runtime.metrics.observe(JOB_WAIT, late, state.job.title, state.job.queue)
        task = asyncio.create_task(_run(queue, runtime, state, request))
        running.add(task)

        def ended(_: asyncio.Task[None]) -> None:
            running.discard(task)
            free.release()

        queue.started(state.job.id, request)
        task.add_done_callback(ended)

    while True:
        await free.acquire()
        try:
            state = await queue.take()
        except BaseException:
            free.release()
            raise
        start(state)


async def _run(queue: MemoryQueue, runtime: Runtime, state: JobState, request: CancelRequest) -> None:
    try:
        outcome = await perform_job(runtime, state.job, state.tries, request)
    except Exception:
        logger.exception("job '%s' (%s) could not be run", state.job.title, state.job.id)
        outcome = after_failure(state.job, state.tries, internal_error())
    queue.finish(state, outcome)
