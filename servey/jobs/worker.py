"""A worker process: takes jobs from Redis with arq's worker, and runs schedules.

arq polls the queue and counts what runs at once. What it means to take a job is ours: its lease, its fence, its tries,
what becomes of it.
Source: arq 0.28 (Worker._poll_iteration, Worker.start_jobs, Worker.heart_beat).
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from arq.connections import ArqRedis
from arq.worker import Worker, func
from redis.exceptions import AuthenticationError, ConnectionError, RedisError, ResponseError
from redis.exceptions import TimeoutError as NoAnswer

from servey.errors import ConfigError
from servey.jobs import redis_scripts as scripts
from servey.jobs.perform import perform_job, worker_lost
from servey.jobs.redis_queue import QUEUE, RedisQueue, Taken, keep_trying
from servey.jobs.schedule import schedules_of
from servey.jobs.scheduler import run_schedules
from servey.jobs.status import status_served

if TYPE_CHECKING:
    from servey.runtime import Runtime

logger = logging.getLogger("servey")

MOST_LOST = 3
"""So many workers may die of a job before it is given up."""
_POLL_SECONDS = 0.05
_READ_AT_ONCE = 5000
_TAKEN_AT_ONCE = 100
_ROOM_SECONDS = 1.0


async def _never_called(ctx: dict[Any, Any]) -> None:
    """arq wants a function; `LeaseWorker` calls actions itself."""


class LeaseWorker(Worker):
    """arq's worker, whose jobs stay with it for a lease that it renews while they run."""

    def __init__(self, runtime: Runtime, queue: RedisQueue, *, at_once: int) -> None:
        pool: ArqRedis = ArqRedis(cast(Any, queue.client.connection_pool), default_queue_name=QUEUE)
        super().__init__(
            [func(_never_called, name="servey")],
            queue_name=QUEUE,
            redis_pool=pool,
            handle_signals=False,
            max_jobs=at_once,
            poll_delay=_POLL_SECONDS,
            queue_read_limit=_READ_AT_ONCE,
            health_check_interval=10,
        )
        self.in_progress_timeout_s = queue.lease_ms / 1000
        self._runtime = runtime
        self._queue = queue
        self._room = asyncio.Event()
        self._taken: dict[str, tuple[Taken, asyncio.Task[Any]]] = {}

    async def main(self) -> None:
        """Takes and runs jobs until it is cancelled, also over times without Redis."""
        wait = 0.1
        async with asyncio.TaskGroup() as group:
            group.create_task(self._renew_leases())
            while True:
                try:
                    await self._poll_iteration()
                    wait = 0.1
                    await asyncio.sleep(self.poll_delay_s)
                except (ConnectionError, NoAnswer, OSError, ResponseError) as error:
                    # ResponseError: a Redis that is still loading its file says so.
                    logger.warning("the queue of jobs does not answer: %s", error)
                    await asyncio.sleep(wait * random.uniform(0.5, 1))
                    wait = min(wait * 2, 2)

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        """Begins these jobs as there is room for them; taking some is one step, where arq makes three for each."""
        ids, at = [each.decode() for each in job_ids], 0
        while at < len(ids) and self.allow_pick_jobs:
            self._room.clear()
            room = self.max_jobs - self.job_counter
            if room <= 0:
                try:
                    async with asyncio.timeout(_ROOM_SECONDS):
                        await self._room.wait()
                except TimeoutError:
                    return  # what else a poll does has to be done meanwhile
                continue
            found = await self._queue.take(ids[at : at + _TAKEN_AT_ONCE], room)
            at = ids.index(found[-1].job.id, at) + 1 if len(found) == room else at + _TAKEN_AT_ONCE
            for taken in found:
                self.job_counter += 1
                task = asyncio.create_task(self._run(taken))
                task.add_done_callback(self._ended)
                self.tasks[taken.job.id] = task

    def _ended(self, _: asyncio.Task[None]) -> None:
        self.job_counter -= 1
        self._room.set()

    async def _run(self, taken: Taken) -> None:
        job_id = taken.job.id
        if taken.lost >= MOST_LOST:
            await keep_trying(lambda: self._queue.finish(taken, worker_lost(taken.job)))
            return
        task = asyncio.create_task(perform_job(self._runtime, taken.job, taken.tries + 1))
        self._taken[job_id] = taken, task
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            # The process ends before the job does.
            task.cancel()
            await asyncio.wait({task})
            if task.cancelled():
                await self._give_back(taken)
                raise
        finally:
            del self._taken[job_id]
        if task.cancelled():
            return  # another worker has it by now
        if not await keep_trying(lambda: self._queue.finish(taken, task.result())):
            logger.warning("job '%s' (%s) was taken over by another worker meanwhile", taken.job.title, job_id)

    async def _give_back(self, taken: Taken) -> None:
        with suppress(RedisError, OSError, asyncio.TimeoutError):
            async with asyncio.timeout(2):
                await self._queue.give_back(taken)

    async def _renew_leases(self) -> None:
        while True:
            await asyncio.sleep(self.in_progress_timeout_s / 3)
            for taken, task in list(self._taken.values()):
                with suppress(RedisError, OSError):
                    if not await self._queue.renew(taken):
                        task.cancel()

    async def drain(self, grace: float) -> None:
        """Takes no more jobs, and waits for those that run as long as the grace allows; then gives them back."""
        self.allow_pick_jobs = False
        running = [task for task in self.tasks.values() if not task.done()]
        if running:
            await asyncio.wait(running, timeout=grace)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)


class RedisSlots:
    """Slots that any number of processes share: a key for each slot, and one for each schedule that runs."""

    def __init__(self, queue: RedisQueue) -> None:
        self._queue = queue

    @asynccontextmanager
    async def take(self, schedule: str, slot_ms: int, hold: float) -> AsyncIterator[bool]:
        """Whether the slot is this process's. Without an answer of Redis it is nobody's."""
        token = uuid4().hex
        running = f"servey:running:{schedule}"
        keys = [f"servey:slot:{schedule}:{slot_ms}", running]
        hold_ms = round(hold * 1000)
        # The slot is remembered for longer than any process stalls, so that one that comes late does not run it again.
        try:
            taken = await self._queue._run(scripts.TAKE_SLOT, keys, [token, _SLOT_KEPT_MS, hold_ms])
        except (RedisError, OSError) as error:
            logger.warning("schedule '%s' skips a slot, since Redis does not answer: %s", schedule, error)
            taken = 0
        if not taken:
            yield False
            return
        holding = asyncio.create_task(self._hold(running, token, hold_ms))
        try:
            yield True
        finally:
            holding.cancel()
            with suppress(RedisError, OSError):
                await self._queue._run(scripts.LEAVE_SLOT, [running], [token])

    async def _hold(self, running: str, token: str, hold_ms: int) -> None:
        while True:
            await asyncio.sleep(hold_ms / 3000)
            with suppress(RedisError, OSError):
                await self._queue._run(scripts.HOLD_SLOT, [running], [token, hold_ms])


_SLOT_KEPT_MS = 600_000


async def wait_for_redis(queue: RedisQueue) -> None:
    """Waits until Redis answers. Errors: ConfigError where it answers that it does not want us."""
    told = 0.0
    while True:
        try:
            await queue.check()
            return
        except (AuthenticationError, ResponseError) as error:
            if "LOADING" not in str(error):
                raise ConfigError(f"setting SERVEY_REDIS_URL: Redis refuses the connection: {error}") from None
        except (RedisError, OSError) as error:
            if time.monotonic() - told > 5:
                told = time.monotonic()
                logger.warning("waiting for Redis: %s", error)
        await asyncio.sleep(0.2)


@asynccontextmanager
async def working(runtime: Runtime, *, schedules: bool = True) -> AsyncIterator[None]:
    """Runs jobs and schedules from Redis meanwhile. At the end, jobs that run are finished or given back."""
    queue = runtime.queue
    assert isinstance(queue, RedisQueue)
    worker = LeaseWorker(runtime, queue, at_once=runtime.settings.job_concurrency)
    tasks = [asyncio.create_task(worker.main())]
    if schedules and (found := schedules_of(runtime)):
        tasks.append(asyncio.create_task(run_schedules(runtime, found, RedisSlots(queue))))
    try:
        yield
    finally:
        for task in tasks[1:]:
            task.cancel()
        await worker.drain(runtime.settings.job_grace)
        tasks[0].cancel()
        await asyncio.wait(tasks)


async def work(runtime: Runtime) -> None:
    """Works until the process is asked to end."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    queue = runtime.queue
    assert isinstance(queue, RedisQueue)
    waiting = asyncio.create_task(wait_for_redis(queue))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({waiting, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if stop.is_set():
        waiting.cancel()
        return
    await waiting
    settings = runtime.settings
    async with runtime.lifespan(), status_served(runtime, settings.host, settings.worker_port), working(runtime):
        logger.info("working on jobs and schedules")
        await stopped
