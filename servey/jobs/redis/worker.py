"""A worker process: runs jobs from Redis in arq's worker, and runs schedules.

A waiting worker blocks on one read, which ends when there is a job for it; a timer ends the wait for a job that is not due
yet. arq's worker counts running jobs and records that it is alive. Queues, leases, fences, tries and outcomes are handled
here.
Source: arq 0.28 (Worker.heart_beat).
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from arq.connections import ArqRedis
from arq.worker import Worker, func
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from servey.calls.supervise import supervise
from servey.core.channels import WebhookEventChannel
from servey.core.errors import ConfigError, internal_error
from servey.core.queues import DEFAULT_QUEUE, CancelRequest, Job
from servey.jobs.perform import Outcome, after_failure, perform_job, worker_lost
from servey.jobs.redis import scripts
from servey.jobs.redis.client import keep_trying
from servey.jobs.redis.leases import Lease, LeaseKeeper
from servey.jobs.redis.queue import RedisQueue
from servey.jobs.redis.registry import Presence
from servey.jobs.redis.slots import RedisSlots
from servey.jobs.redis.source import JobSource, Taken
from servey.jobs.schedule import schedules_of
from servey.jobs.scheduler import run_schedules
from servey.jobs.status import status_served
from servey.jobs.weights import in_turn, parse_weights
from servey.observability.metrics import JOB_WAIT
from servey.runtime.garbage import keep_start_out_of_collections
from servey.runtime.systemd import READY, STOPPING, notify

if TYPE_CHECKING:
    from servey.runtime.runtime import Runtime

logger: logging.Logger = logging.getLogger("servey")

MOST_LOST = 3
"""How many workers a job may kill before it is given up."""
_TAKEN_AT_ONCE = 100
_LOOK_SECONDS = 4.0
"""How often a waiting worker checks the queues without a wake-up: a job's worker may have died, or a wake-up may be lost."""
_FULL_SECONDS = 1.0
_ASK_AGAIN_SECONDS = 0.2


async def _never_called(ctx: dict[Any, Any]) -> None:
    """Does nothing: arq requires a function, but `LeaseWorker` calls the actions itself."""


@dataclass(eq=False)
class _Running:
    """A job that runs here. Units: ``begun`` on the monotonic clock."""

    taken: Taken
    cancel: CancelRequest = field(default_factory=CancelRequest)
    begun: float = field(default_factory=time.monotonic)


class LeaseWorker(Worker):
    """arq's worker, with a lease for each job that is renewed while the job runs.

    A job that may have crashed its previous worker (a suspect) runs alone: if this worker dies too, the job is the cause.
    ``weights`` are the queues that this worker reads; None is all of them.
    """

    job_counter: int

    def __init__(
        self,
        runtime: Runtime,
        queue: RedisQueue,
        keeper: LeaseKeeper,
        *,
        at_once: int,
        weights: Mapping[str, int] | None = None,
    ) -> None:
        default = f"{queue.prefix}jobs:{DEFAULT_QUEUE}"
        pool: ArqRedis = ArqRedis(cast(Any, queue.client.connection_pool), default_queue_name=default)
        super().__init__(
            [func(_never_called, name="servey")],
            queue_name=default,
            redis_pool=pool,
            handle_signals=False,
            max_jobs=at_once,
            health_check_interval=10,
        )
        self._runtime = runtime
        self._queue = queue
        self._source = JobSource(queue)
        self._presence = Presence(queue, self._source.worker, at_once, None if weights is None else sorted(weights))
        self._keeper = keeper
        self._reads_all = weights is None
        self._weights: Mapping[str, int] = {DEFAULT_QUEUE: 1} if weights is None else weights
        self._news = asyncio.Event()
        self._is_full = False
        self._listening: asyncio.Task[str | None] | None = None
        self._running: dict[str, _Running] = {}
        self._suspect: Taken | None = None
        self._suspect_runs = False
        self._schedules_running = 0

    async def main(self) -> None:
        """Take and run jobs until cancelled, also while Redis does not answer. Errors: whatever else goes wrong."""
        cancellations = asyncio.create_task(_while_redis_answers(self._listen_for_cancellations))
        cancellations.add_done_callback(lambda _: self._news.set())
        try:
            await _while_redis_answers(lambda: self._turn(cancellations))
        finally:
            ending = [cancellations] if self._listening is None else [cancellations, self._listening]
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)
            self._listening = None
            await self._presence.leave()
            await self._source.aclose()

    async def _turn(self, cancellations: asyncio.Task[None]) -> None:
        """Take jobs if there is room, and wait until there may be something to do."""
        if cancellations.done():
            cancellations.result()  # it only ends with an error
        await self.heart_beat()
        await self._presence.say()
        woken = self._woken_for()
        room = self.max_jobs - self.job_counter if self.allow_pick_jobs and self._suspect is None else 0
        if room <= 0:
            self._is_full = True
            if woken is not None:
                await self._source.wake([woken])  # for another worker
            await self._wait(_FULL_SECONDS)
            return
        self._is_full = False
        most = min(room, _TAKEN_AT_ONCE)
        batch = await self._source.take(in_turn(self._weights, most), most, self._reads_all)
        for taken in batch.taken:
            self._start(taken)
        if self._reads_all and batch.queues - self._weights.keys():
            self._weights = {**self._weights, **dict.fromkeys(batch.queues, 1)}
            if self._listening is not None:
                self._listening.cancel()
        elif len(batch.taken) < most and self._suspect is None:
            self._listen()
            await self._wait(_LOOK_SECONDS if batch.wait is None else min(batch.wait, _LOOK_SECONDS))

    async def _wait(self, seconds: float) -> None:
        """Wait until this worker is woken or has room again, for at most this many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        self._news.clear()

    def _listen(self) -> None:
        """Begin to wait for a job, unless this is done already."""
        if self._listening is None:
            self._listening = asyncio.create_task(self._source.wait_for_jobs(list(self._weights)))
            self._listening.add_done_callback(lambda _: self._news.set())

    def _woken_for(self) -> str | None:
        """Return the queue that this worker was woken for. Errors: redis.RedisError, OSError."""
        if self._listening is None or not self._listening.done():
            return None
        listening, self._listening = self._listening, None
        return listening.result()

    def _start(self, taken: Taken) -> None:
        if taken.suspect:
            self._suspect = taken
        self.job_counter += 1
        self._runtime.metrics.observe(JOB_WAIT, max(0.0, taken.late), taken.job.title, taken.job.queue)
        running = self._running[taken.job.id] = _Running(taken)
        task = asyncio.create_task(self._run(running))
        task.add_done_callback(lambda _: self._ended(taken.job.id))
        self.tasks[taken.job.id] = task

    def _ended(self, job_id: str) -> None:
        self.job_counter -= 1
        self._running.pop(job_id, None)
        self.tasks.pop(job_id, None)
        if self._is_full:
            self._news.set()

    async def _listen_for_cancellations(self) -> None:
        job_id = await self._source.wait_for_cancelled()
        if job_id is not None and not self.cancel(job_id):
            # It may have been taken and not arrived here yet.
            asyncio.get_running_loop().call_later(_ASK_AGAIN_SECONDS, self.cancel, job_id)

    def cancel(self, job_id: str) -> bool:
        """Cancel a job that runs here; return False if there is none. A plain ``def`` only sees ``context.cancelled``."""
        running = self._running.get(job_id)
        if running is not None:
            running.cancel.set()
        return running is not None

    async def _run(self, running: _Running) -> None:
        """Run a job that was taken, and record its outcome. Errors: only CancelledError."""
        taken = running.taken
        task = asyncio.create_task(self._perform(running))
        lease = self._lease_of(running, task)
        try:
            with self._keeper.holding(lease):
                try:
                    await asyncio.wait({task})
                except asyncio.CancelledError:
                    # The process stops before the job ends.
                    task.cancel()
                    await asyncio.wait({task})
                    if task.cancelled():
                        await self._give_back(taken)
                        raise
                if not task.cancelled():
                    await self._record(running, task)
        finally:
            if self._suspect is taken:
                self._suspect, self._suspect_runs = None, False

    async def _perform(self, running: _Running) -> Outcome:
        taken = running.taken
        if taken.suspect:
            if taken.killed >= MOST_LOST - 1:
                return worker_lost(taken.job)
            own = self.tasks[taken.job.id]
            while others := [task for task in self.tasks.values() if task is not own and not task.done()]:
                await asyncio.wait(others)
            self._suspect_runs = True
            await self._mark_suspect()
        return await perform_job(self._runtime, taken.job, taken.tries + 1, running.cancel)

    async def _mark_suspect(self) -> None:
        """Record whether the suspect is all that runs here: only then is it the cause if the process dies."""
        taken = self._suspect
        if taken is not None and self._suspect_runs:
            with suppress(RedisError, OSError):
                await self._source.mark_alone(taken, self._schedules_running == 0)

    @asynccontextmanager
    async def running_schedule(self) -> AsyncIterator[None]:
        """Record that a schedule is running in this process until the block ends."""
        self._schedules_running += 1
        await self._mark_suspect()
        try:
            yield
        finally:
            self._schedules_running -= 1
            await self._mark_suspect()

    async def _record(self, running: _Running, task: asyncio.Task[Outcome]) -> None:
        taken, job, seconds = running.taken, running.taken.job, time.monotonic() - running.begun
        error = task.exception()
        if error is not None:
            logger.error("job '%s' (%s) could not be run", job.title, job.id, exc_info=error)
            outcome = after_failure(job, taken.tries + 1, internal_error())
        else:
            outcome = task.result()
        try:
            recorded = await keep_trying(lambda: self._source.finish(taken, outcome, seconds))
        except Exception:
            # Nothing that one job returns may end the worker.
            logger.exception("the outcome of job '%s' (%s) could not be recorded", job.title, job.id)
            return
        if not recorded:
            logger.warning("job '%s' (%s) ended in another worker meanwhile", job.title, job.id)

    def _lease_of(self, running: _Running, task: asyncio.Task[Outcome]) -> Lease:
        queue, job = self._queue, running.taken.job
        loop, seconds = asyncio.get_running_loop(), queue.lease_ms / 1000

        def renewed(answer: int) -> None:
            if answer == scripts.CANCELLED:
                self.cancel(job.id)
            elif answer == scripts.LOST and not task.done():
                logger.warning(
                    "job '%s' (%s) lost its lease: another worker has it, or it has ended", job.title, job.id
                )
                # Give the job time to complete: the first success counts.
                loop.call_later(seconds, task.cancel)

        until = time.monotonic() + self._longest(job) + self._runtime.settings.job_grace
        args = [job.id, running.taken.fence, queue.lease_ms]
        return Lease(scripts.RENEW, [queue.prefix], args, seconds / 3, until, renewed)

    def _longest(self, job: Job) -> float:
        """Return the timeout of a job in seconds."""
        catalog = self._runtime.catalog
        if job.channel is None:
            return catalog[job.action].timeout if job.action in catalog else 0
        return max((each.timeout for each in catalog.channels_of(WebhookEventChannel)), default=0)

    async def _give_back(self, taken: Taken) -> None:
        with suppress(RedisError, OSError):
            async with asyncio.timeout(2):
                await self._source.give_back(taken)

    async def drain(self, grace: float) -> None:
        """Take no more jobs, and wait for those that run, at most for the grace period; then give them back."""
        self.allow_pick_jobs = False
        running = [task for task in self.tasks.values() if not task.done()]
        if running:
            await asyncio.wait(running, timeout=grace)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)


async def wait_for_redis(queue: RedisQueue) -> None:
    """Wait until Redis answers. Errors: ConfigError if it refuses the connection."""
    warned = 0.0
    while True:
        try:
            await queue.check()
            return
        except (AuthenticationError, ResponseError) as error:
            if "LOADING" not in str(error):
                raise ConfigError(f"setting SERVEY_REDIS_URL: Redis refuses the connection: {error}") from None
        except (RedisError, OSError) as error:
            if time.monotonic() - warned > 5:
                warned = time.monotonic()
                logger.warning("waiting for Redis: %s", error)
        await asyncio.sleep(0.2)


async def _while_redis_answers(turn: Callable[[], Awaitable[None]]) -> None:
    """Repeat something until cancelled, with pauses while Redis does not answer. Errors: whatever else goes wrong."""
    wait = 0.1
    while True:
        try:
            await turn()
            wait = 0.1
        except (RedisError, OSError) as error:
            logger.warning("the queue of jobs does not answer: %s", error)
            await asyncio.sleep(wait * random.uniform(0.5, 1))
            wait = min(wait * 2, 2)


@asynccontextmanager
async def working(runtime: Runtime, *, schedules: bool = True) -> AsyncIterator[None]:
    """Run jobs and schedules from Redis until the block ends; then running jobs are finished or given back."""
    queue = runtime.queue
    assert isinstance(queue, RedisQueue)
    keeper = LeaseKeeper(queue.url, queue.prefix)
    settings = runtime.settings
    weights = None if settings.job_queues is None else parse_weights(settings.job_queues)
    worker = LeaseWorker(runtime, queue, keeper, at_once=settings.job_concurrency, weights=weights)
    found = schedules_of(runtime) if schedules else []
    async with keeper.running():
        jobs = asyncio.create_task(supervise("jobs", worker.main, runtime))
        running = asyncio.create_task(run_schedules(runtime, found, RedisSlots(queue, keeper, worker.running_schedule)))
        try:
            yield
        finally:
            running.cancel()
            await worker.drain(settings.job_grace)
            jobs.cancel()
            await asyncio.wait({jobs, running})


async def work(runtime: Runtime, users_lifespan: Callable[[], AbstractAsyncContextManager[None]] = nullcontext) -> None:
    """Work until the process receives SIGTERM or SIGINT."""
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
    served = status_served(runtime, settings.host, settings.worker_port)
    async with users_lifespan(), runtime.lifespan(), served, working(runtime):
        logger.info("working on jobs and schedules of '%s'", settings.namespace)
        keep_start_out_of_collections()
        notify(READY)
        await stopped
        notify(STOPPING)
