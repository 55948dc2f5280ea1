"""A queue inside the process: for development, tests and a single server. What it holds ends with the process."""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from servey.jobs.perform import perform_job
from servey.queues import MOST_DEAD, Depth, Job, JobState

if TYPE_CHECKING:
    from servey.runtime import Runtime

logger = logging.getLogger("servey")


class MemoryQueue:
    """Jobs in this process's memory.

    Units: ``keep`` in seconds: how long the state of a job that has ended can be asked for, and its key is remembered.
    """

    def __init__(self, *, keep: float, at_once: int, grace: float) -> None:
        self._keep = keep
        self._at_once = at_once
        self._grace = grace
        self._states: dict[str, JobState] = {}
        self._keys: dict[tuple[str, str], str] = {}
        self._key_of: dict[str, tuple[str, str]] = {}
        self._due: list[tuple[float, int, str]] = []
        self._ended: deque[tuple[float, str]] = deque()
        self._dead: dict[str, None] = {}
        self._number = 0
        self._something = asyncio.Event()
        self._ended_one = asyncio.Event()

    async def enqueue(self, job: Job, *, delay: float = 0, key: str | None = None) -> str:
        """Takes a job; gives its id, or that of the job of the same action that came with this ``key`` before."""
        self._forget_old()
        if key is not None:
            first = self._keys.setdefault((job.title, key), job.id)
            if first != job.id:
                return first
            self._key_of[job.id] = job.title, key
        self._wait(JobState(job, due_at=time.time() + delay))
        return job.id

    async def state(self, job_id: str) -> JobState | None:
        """What has become of a job; None for one that is not known, or not any more."""
        self._forget_old()
        return self._states.get(job_id)

    async def ended(self, job_id: str) -> JobState:
        """What has become of a job once that is final. Errors: KeyError for one that is not known."""
        while (known := self._states[job_id]).state in ("queued", "running"):
            self._ended_one.clear()
            await self._ended_one.wait()
        return known

    async def report(self, job_id: str, progress: Mapping[str, Any]) -> None:
        """Notes how far a running job has come."""
        known = self._states.get(job_id)
        if known is not None and known.state == "running":
            self._states[job_id] = replace(known, progress=progress)

    async def jobs(self) -> list[JobState]:
        """Every job that waits, runs or is dead; the one that is due first comes first."""
        waiting = [each for each in self._states.values() if each.state in ("queued", "running", "dead")]
        return sorted(waiting, key=lambda each: each.due_at)

    async def depth(self) -> Depth:
        """How much lies in it."""
        waiting = [each.due_at for each in self._states.values() if each.state == "queued"]
        dead = sum(each.state == "dead" for each in self._states.values())
        return Depth(len(waiting), dead, min(waiting, default=None))

    async def retry(self, job_id: str) -> bool:
        """Lets a dead job begin anew; False where there is no such dead job."""
        known = self._states.get(job_id)
        if known is None or known.state != "dead":
            return False
        self._dead.pop(job_id, None)
        self._wait(JobState(known.job, due_at=time.time()))
        return True

    async def drop(self, job_id: str) -> bool:
        """Forgets a dead job, or one that waits; False where there is no such job."""
        known = self._states.get(job_id)
        if known is None or known.state not in ("dead", "queued"):
            return False
        self._forget(job_id)
        return True

    async def aclose(self) -> None:
        """Nothing is open."""

    def _wait(self, state: JobState) -> None:
        self._states[state.job.id] = state
        self._number += 1
        heapq.heappush(self._due, (state.due_at, self._number, state.job.id))
        self._something.set()

    def _bury(self, job_id: str) -> None:
        self._dead[job_id] = None
        while len(self._dead) > MOST_DEAD:
            self._forget(next(iter(self._dead)))

    def _forget(self, job_id: str) -> None:
        """Forgets a job, and the key that it came with."""
        del self._states[job_id]
        self._dead.pop(job_id, None)
        if job_id in self._key_of:
            del self._keys[self._key_of.pop(job_id)]

    def _forget_old(self) -> None:
        while self._ended and self._ended[0][0] < time.time() - self._keep:
            _, job_id = self._ended.popleft()
            known = self._states.get(job_id)
            if known is not None and known.state in ("done", "failed"):
                self._forget(job_id)

    # ---------------------------------------------------------------------------------------------------- its worker

    @asynccontextmanager
    async def working(self, runtime: Runtime) -> AsyncIterator[None]:
        """Runs jobs meanwhile. At the end those that are due are finished, as far as the grace allows."""
        worker = asyncio.create_task(self._work(runtime))
        try:
            yield
        finally:
            try:
                async with asyncio.timeout(self._grace):
                    await self._until_idle()
            except TimeoutError:
                pass
            worker.cancel()
            await asyncio.wait({worker})
            left = sum(each.state in ("queued", "running") for each in self._states.values())
            if left:
                logger.warning("%d jobs end with this process; with SERVEY_REDIS_URL they would outlive it", left)

    async def _until_idle(self) -> None:
        while any(each.state == "running" for each in self._states.values()) or self._next_is_due():
            self._ended_one.clear()
            await self._ended_one.wait()

    async def _work(self, runtime: Runtime) -> None:
        free = asyncio.Semaphore(self._at_once)
        async with asyncio.TaskGroup() as group:
            while True:
                await free.acquire()
                state = await self._next()
                task = group.create_task(self._run(runtime, state))
                task.add_done_callback(lambda _: free.release())

    def _next_is_due(self) -> bool:
        self._skip_dropped()
        return bool(self._due) and self._due[0][0] <= time.time()

    def _skip_dropped(self) -> None:
        while self._due:
            known = self._states.get(self._due[0][2])
            if known is not None and known.state == "queued":
                return
            heapq.heappop(self._due)

    async def _next(self) -> JobState:
        """The next job that is due, once it is, as running."""
        while True:
            self._something.clear()
            if self._next_is_due():
                job_id = heapq.heappop(self._due)[2]
                known = self._states[job_id]
                self._states[job_id] = running = replace(known, state="running", tries=known.tries + 1)
                return running
            wait = self._due[0][0] - time.time() if self._due else None
            try:
                async with asyncio.timeout(wait):
                    await self._something.wait()
            except TimeoutError:
                pass

    async def _run(self, runtime: Runtime, state: JobState) -> None:
        outcome = await perform_job(runtime, state.job, state.tries)
        job_id = state.job.id
        now = time.time()
        last = self._states.get(job_id, state)
        ended = replace(
            last,
            state=outcome.state,
            tries=state.tries - (not outcome.tried),
            result=outcome.result,
            error=outcome.error,
            due_at=now + outcome.wait,
        )
        if outcome.state == "queued":
            self._wait(ended)
        else:
            self._states[job_id] = ended
            self._ended.append((now, job_id))
            if outcome.state == "dead":
                self._bury(job_id)
        self._ended_one.set()
