"""A queue inside the process, for development, tests and a single server; its jobs are lost when the process ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic_core import to_json

from servey.core.clock import Clock
from servey.core.errors import Overloaded
from servey.core.process import Process
from servey.core.queues import (
    GIVEN_UP,
    LISTED,
    MOST_DEAD,
    MOST_TRIES_KEPT,
    UNFINISHED,
    ActionJobs,
    CancelRequest,
    Depth,
    Job,
    JobEvent,
    JobState,
    QueueState,
    State,
    Try,
    first_of_each_state,
)
from servey.jobs.perform import Outcome
from servey.jobs.runs import LocalSchedules, this_process
from servey.jobs.waiting import WaitingJobs
from servey.jobs.workers import WorkerState

_EVENT_OF_END: dict[State, str] = {
    "done": "job.succeeded",
    "failed": "job.failed",
    "dead": "job.dead",
    "cancelled": "job.cancelled",
}
_MOST_EVENTS = 10_000
_OVERHEAD_BYTES = 1000
"""The approximate size of a job without its parameters and its result."""


class MemoryQueue(LocalSchedules):
    """Jobs in this process's memory.

    Units: ``keep`` in seconds: how long the state of a job that has ended is kept. ``max_entries`` bounds the jobs that wait
    or run, and those that have ended; ``max_bytes`` the parameters and results of all of them.
    """

    def __init__(
        self, *, keep: float, at_once: int, grace: float, max_entries: int = 10_000, max_bytes: int = 64 << 20
    ) -> None:
        super().__init__()
        self.at_once = at_once
        self.grace = grace
        self.has_worker = False
        self._keep = keep
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._states: dict[str, JobState] = {}
        self._sizes: dict[str, int] = {}
        self._bytes = 0
        self._keys: dict[tuple[str, str], str] = {}
        self._key_of: dict[str, tuple[str, str]] = {}
        self._waiting = WaitingJobs()
        self._running: dict[str, CancelRequest] = {}
        # When the jobs that have ended expire, oldest first; the first list is dropped first when memory runs short.
        self._ended: dict[State, dict[str, float]] = {"done": {}, "cancelled": {}, "failed": {}, "dead": {}}
        self._worker = this_process()
        self._began_at = time.time()
        self._actions: set[tuple[str, str]] = set()
        self._watchers: set[asyncio.Queue[JobEvent]] = set()
        self._something = asyncio.Event()
        self._ended_one = asyncio.Event()
        self._clock = Clock()

    def attach(self, process: Process) -> None:
        """Go by the clock of an app."""
        self._clock = process.clock

    async def enqueue(self, job: Job, *, delay: float = 0, key: str | None = None) -> str:
        """Add a job; return its id, or the id of an earlier job of the same action with the same ``key``.

        Errors: Overloaded if the queue is full.
        """
        self._forget_old()
        if key is not None:
            first = self._states.get(self._keys.get((job.title, key), ""))
            if first is not None and self._holds_key(first):
                return first.job.id
        self._make_room_for(job)
        if key is not None:
            self._keys[job.title, key] = job.id
            self._key_of[job.id] = job.title, key
        self._wait(JobState(job, due_at=self._clock.now() + delay))
        return job.id

    async def state(self, job_id: str) -> JobState | None:
        """Return the state of a job, or None if it is unknown or expired."""
        self._forget_old()
        return self._states.get(job_id)

    async def ended(self, job_id: str) -> JobState:
        """Wait until a job has ended, and return its state. Errors: KeyError if it is unknown."""
        while (known := self._states[job_id]).state in UNFINISHED:
            self._ended_one.clear()
            await self._ended_one.wait()
        return known

    async def report(self, job_id: str, progress: Mapping[str, Any]) -> None:
        """Record the progress of a running job."""
        known = self._states.get(job_id)
        if known is not None and known.state == "running":
            self._states[job_id] = replace(known, progress=progress)
            self._publish("job.progressed", known, progress=progress)

    async def jobs(
        self,
        *,
        states: Collection[State] = LISTED,
        action: str | None = None,
        queue: str | None = None,
        most: int | None = None,
    ) -> list[JobState]:
        """Return the jobs in some states, ordered by due time; see `Queue.jobs`."""
        self._forget_old()
        found = (
            each
            for each in self._states.values()
            if each.state in states
            and (action is None or each.job.title == action)
            and (queue is None or each.job.queue == queue)
        )
        return first_of_each_state(found, most)

    async def queues(self) -> list[QueueState]:
        """Return every queue that has held a job or is paused, ordered by name."""
        found: list[QueueState] = []
        for name in sorted({*self._waiting.queues, *self._waiting.paused}):
            own = [each for each in self._states.values() if each.job.queue == name]
            due = [each.due_at for each in own if each.state == "queued"]
            running = sum(each.state == "running" for each in own)
            found.append(QueueState(name, name in self._waiting.paused, len(due), running, min(due, default=None)))
        return found

    async def actions(self) -> list[ActionJobs]:
        """Return the jobs of each action in each queue that has held some."""
        by_action: dict[tuple[str, str], list[JobState]] = {each: [] for each in sorted(self._actions)}
        for each in self._states.values():
            by_action[each.job.queue, each.job.title].append(each)
        found: list[ActionJobs] = []
        for (queue, action), own in by_action.items():
            due = [each.due_at for each in own if each.state == "queued"]
            running, dead = (sum(each.state in states for each in own) for states in (("running",), GIVEN_UP))
            found.append(ActionJobs(queue, action, len(due), running, dead, min(due, default=None)))
        return found

    async def depth(self) -> Depth:
        """Return the size of all queues together."""
        waiting = [each.due_at for each in self._states.values() if each.state == "queued"]
        dead = len(self._ended["dead"]) + len(self._ended["failed"])
        return Depth(len(waiting), dead, min(waiting, default=None))

    async def retry(self, job_id: str) -> bool:
        """Enqueue a failed, dead or cancelled job again; return False if there is no such job."""
        known = self._states.get(job_id)
        if known is None or known.state not in ("failed", "dead", "cancelled"):
            return False
        self._ended[known.state].pop(job_id, None)
        key = self._key_of.get(job_id)
        if key is not None:
            other = self._states.get(self._keys.get(key, ""))
            if other is None or not self._holds_key(other):
                self._keys[key] = job_id
        self._wait(JobState(known.job, due_at=self._clock.now(), history=known.history))
        return True

    async def drop(self, job_id: str) -> bool:
        """Delete a job that is not running; return False if there is no such job."""
        known = self._states.get(job_id)
        if known is None or known.state == "running":
            return False
        self._forget(job_id)
        return True

    async def cancel(self, job_id: str) -> bool:
        """Cancel a queued or running job; return False if there is no such job."""
        known = self._states.get(job_id)
        if known is None or known.state not in UNFINISHED:
            return False
        request = self._running.get(job_id)
        if request is not None:
            request.set()
        else:
            self._waiting.discard(job_id)
            self._end(replace(known, state="cancelled", ended_at=self._clock.now()))
        return True

    async def pause(self, queue: str) -> None:
        """Let no more jobs of a queue start until it is resumed or the process ends."""
        self._waiting.paused.add(queue)

    async def resume(self, queue: str) -> None:
        """Let jobs of a paused queue start again."""
        self._waiting.paused.discard(queue)
        self._something.set()

    async def events(self) -> AsyncIterator[JobEvent]:
        """Yield what happens to jobs from now on."""
        waiting: asyncio.Queue[JobEvent] = asyncio.Queue(_MOST_EVENTS)
        self._watchers.add(waiting)
        try:
            while True:
                yield await waiting.get()
        finally:
            self._watchers.discard(waiting)

    def _publish(self, event: str, state: JobState, **more: Any) -> None:
        if self._watchers:
            job = state.job
            published = JobEvent(event, job.id, job.title, job.queue, self._clock.now(), state.tries, **more)
            for each in self._watchers:
                if not each.full():  # a slow watcher misses events
                    each.put_nowait(published)

    async def workers(self) -> list[WorkerState]:
        """Return this process, if it runs jobs."""
        now = self._clock.now()
        here = WorkerState(self._worker, self.at_once, None, self._began_at, now)
        return [here] if self.has_worker else []

    async def aclose(self) -> None:
        """Do nothing; the queue holds no connection open."""

    # ------------------------------------------------------------------------------------------------- for its worker

    async def take(self) -> JobState:
        """Wait for the next job that may run, and return it as running."""
        while True:
            self._something.clear()
            now = self._clock.now()
            queued = self._waiting.take(now)
            if queued is not None:
                running = replace(
                    queued, state="running", tries=queued.tries + 1, worker=self._worker, started_at=now, ended_at=None
                )
                self._states[queued.job.id] = running
                self._publish("job.started", running, worker=self._worker)
                return running
            due_at = self._waiting.next_at(now)
            alarm = None if due_at is None else self._clock.alarm(due_at, self._something.set)
            try:
                await self._something.wait()
            finally:
                if alarm is not None:
                    alarm.cancel()

    def started(self, job_id: str, request: CancelRequest) -> None:
        """Register how to cancel a running job."""
        self._running[job_id] = request

    def finish(self, running: JobState, outcome: Outcome) -> None:
        """Record the outcome of a job that `take` returned."""
        job, now, history = running.job, self._clock.now(), running.history
        self._running.pop(job.id, None)
        self._waiting.left(job.id, job.limit)
        if outcome.tried:
            assert running.started_at is not None
            history += (Try(running.tries, self._worker, running.started_at, now, outcome.error),)
        state = replace(
            self._states.get(job.id, running),
            state=outcome.state,
            tries=running.tries - (not outcome.tried),
            result=outcome.result,
            error=outcome.error,
            due_at=now + outcome.wait,
            history=history[-MOST_TRIES_KEPT:],
            ended_at=now,
        )
        if state.state == "queued":
            self._wait(state, "job.retried" if outcome.tried else "job.queued")
        else:
            self._end(state)
        self._something.set()
        self._ended_one.set()

    @property
    def unfinished(self) -> int:
        """How many jobs wait or run."""
        return len(self._waiting) + len(self._running)

    @property
    def is_at_rest(self) -> bool:
        """Whether no job runs, and the worker waits for a later time; also true without a worker."""
        now = self._clock.now()
        due_at = self._waiting.next_at(now)
        waits = not self._something.is_set() and (due_at is None or due_at > now)
        return not self.has_worker or (waits and not self._running)

    async def until_idle(self) -> None:
        """Wait until no job runs and none is due."""
        while self._running or self._waiting.is_due(self._clock.now()):
            self._ended_one.clear()
            await self._ended_one.wait()

    # ------------------------------------------------------------------------------------------------------- its memory

    def _holds_key(self, state: JobState) -> bool:
        """Whether a job still holds the key that it was enqueued with."""
        if state.state in UNFINISHED or state.job.unique_for is None:
            return True
        assert state.ended_at is not None
        return self._clock.now() < state.ended_at + state.job.unique_for

    def _make_room_for(self, job: Job) -> None:
        """Drop ended jobs, oldest first, until there is room. Errors: Overloaded if that is not enough."""
        needed = _size_of(job, None)
        oldest = self._oldest_ended()
        while self._bytes + needed > self._max_bytes and (job_id := next(oldest, None)) is not None:
            self._forget(job_id)
        if self.unfinished >= self._max_entries or self._bytes + needed > self._max_bytes:
            raise Overloaded("The queue of jobs is full; try again shortly")

    def _oldest_ended(self) -> Iterator[str]:
        for ended in self._ended.values():
            while ended:
                yield next(iter(ended))

    def _wait(self, state: JobState, event: str = "job.queued") -> None:
        self._actions.add((state.job.queue, state.job.title))
        self._put(state)
        self._waiting.add(state)
        self._something.set()
        self._publish(event, state, due_at=state.due_at, error=state.error)

    def _put(self, state: JobState) -> None:
        job_id = state.job.id
        size = _size_of(state.job, state.result)
        self._bytes += size - self._sizes.get(job_id, 0)
        self._sizes[job_id] = size
        self._states[job_id] = state

    def _end(self, state: JobState) -> None:
        job_id = state.job.id
        if state.state == "done":
            state = replace(state, job=replace(state.job, params=None, request=None))
        self._put(state)
        self._publish(_EVENT_OF_END[state.state], state, error=state.error)
        self._ended_one.set()
        ended, most = self._ended[state.state], MOST_DEAD if state.state in ("failed", "dead") else self._max_entries
        ended[job_id] = self._clock.now() + max(self._keep, state.job.unique_for or 0)
        while len(ended) > most:
            self._forget(next(iter(ended)))
        oldest = self._oldest_ended()
        while self._bytes > self._max_bytes and (other := next(oldest, job_id)) != job_id:
            self._forget(other)

    def _forget(self, job_id: str) -> None:
        """Delete a job, and the key that it was enqueued with."""
        known = self._states.pop(job_id)
        self._bytes -= self._sizes.pop(job_id)
        self._waiting.discard(job_id)
        if known.state in self._ended:
            self._ended[known.state].pop(job_id, None)
        key = self._key_of.pop(job_id, None)
        if key is not None and self._keys.get(key) == job_id:
            del self._keys[key]

    def _forget_old(self) -> None:
        now = self._clock.now()
        for state in ("done", "cancelled", "failed"):
            ended = self._ended[state]
            while ended and ended[oldest := next(iter(ended))] < now:
                self._forget(oldest)


def _size_of(job: Job, result: Any) -> int:
    request = job.request
    kept = sum(len(name) + len(value) for name, value in request.headers) + len(request.query) if request else 0
    return len(to_json(job.params)) + len(to_json(result)) + kept + _OVERHEAD_BYTES
