"""A queue in Redis, which worker processes read; see `servey.jobs.redis.scripts` for its keys."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar, cast

import redis.asyncio as redis
from pydantic_core import from_json, to_json
from redis.exceptions import RedisError

from servey.core.errors import Overloaded
from servey.core.queues import (
    GIVEN_UP,
    LISTED,
    MOST_DEAD,
    ActionJobs,
    Depth,
    Job,
    JobEvent,
    JobState,
    QueueState,
    State,
    first_of_each_state,
)
from servey.core.settings import Settings
from servey.jobs.redis import control, scripts
from servey.jobs.redis.client import Scripts, client_of
from servey.jobs.redis.events import events_of
from servey.jobs.redis.stored import body_of, bounds_of, state_of
from servey.jobs.runs import MOST_RUNS, RUNS_KEPT_SECONDS, Run
from servey.jobs.workers import WorkerState

logger: logging.Logger = logging.getLogger("servey")

T = TypeVar("T")

_AT_ONCE = 500
_ANSWER_SECONDS = 1.8
_CHECK_SECONDS = 60
"""How long the key remains that a check writes."""
WORKERS_KEPT_MS = 30_000
"""How long a worker is known after it was heard of."""


class RedisQueue:
    """Jobs in Redis; they outlive the process that enqueued them.

    Units: ``keep`` and ``lease`` in seconds.
    """

    def __init__(self, client: redis.Redis, *, url: str, prefix: str, keep: float, lease: float) -> None:
        self.client = client
        self.url = url
        self.prefix = prefix
        self.scripts: Scripts = Scripts(client, prefix)
        self.keep_ms: int = round(keep * 1000)
        self.lease_ms: int = round(lease * 1000)

    @classmethod
    def of(cls, settings: Settings) -> RedisQueue:
        """Return the queue that the settings ask for."""
        url = settings.redis_url
        assert url is not None
        prefix = settings.redis_prefix
        return cls(client_of(url, prefix), url=url, prefix=prefix, keep=settings.job_keep, lease=settings.job_lease)

    async def enqueue(self, job: Job, *, delay: float = 0, key: str | None = None) -> str:
        """Add a job; return its id, or the id of an earlier job of the same action with the same ``key``.

        Errors: Overloaded if Redis does not answer in time; the job may or may not have been added.
        """
        limit = ("", "") if job.limit is None else (job.limit.key, bounds_of(job.limit))
        unique = self.keep_ms if job.unique_for is None else round(job.unique_for * 1000)
        shared = "" if key is None else f"{job.title}:{key}"
        args = [job.id, body_of(job), to_json(job.params), round(delay * 1000), job.queue, job.title]
        args += [job.priority, unique, shared]
        found: bytes = await self._answered(lambda: self.scripts.run(scripts.ENQUEUE, *args, *limit))
        return found.decode()

    async def state(self, job_id: str) -> JobState | None:
        """Return the state of a job, or None if it is unknown or expired. Errors: Overloaded."""
        fields = await self._answered(
            lambda: cast(Awaitable[dict[bytes, bytes]], self.client.hgetall(f"{self.prefix}job:{job_id}"))
        )
        return state_of(job_id, fields)

    async def report(self, job_id: str, progress: Mapping[str, Any]) -> None:
        """Record the progress of a running job. Errors: Overloaded."""
        await self._answered(lambda: self.scripts.run(scripts.REPORT, job_id, to_json(dict(progress))))

    async def jobs(
        self,
        *,
        states: Collection[State] = LISTED,
        action: str | None = None,
        queue: str | None = None,
        most: int | None = None,
    ) -> list[JobState]:
        """Return the jobs in some states, ordered by due time; see `Queue.jobs`. Errors: Overloaded."""
        found: dict[str, JobState] = {}
        is_filtered = action is not None or queue is not None
        # Without a filter in steps of one size, so that the last of them is not read for few jobs.
        at_once = _AT_ONCE if not most or is_filtered else -(-most // -(-most // _AT_ONCE))
        for key in await self._lists_of(states, queue):
            count = 0
            async for each in self._listed(key, at_once, latest_first=key in _ENDED):
                if (
                    each.state not in states
                    or (action is not None and each.job.title != action)
                    or (queue is not None and each.job.queue != queue)
                ):
                    continue
                found[each.job.id] = each
                count += 1
                if count == most:
                    break
        return first_of_each_state(found.values(), most)

    async def _lists_of(self, states: Collection[State], queue: str | None) -> list[str]:
        """Return the keys, without prefix, of the sorted sets that have the jobs in some states."""
        found = [each for each in ("running", *_ENDED) if each in states]
        if "queued" in states:
            names = [each.name for each in await self.queues()] if queue is None else [queue]
            found += [f"{kind}:{name}" for name in names for kind in ("jobs", "later")]
            client: Any = self.client
            limits: list[bytes] = await self._answered(partial(client.zrange, f"{self.prefix}held", 0, -1))
            found += [f"held:{each.decode()}" for each in limits]
        return found

    async def _listed(self, key: str, at_once: int, *, latest_first: bool) -> AsyncIterator[JobState]:
        client: Any = self.client
        ids: list[bytes] = await self._answered(partial(client.zrange, self.prefix + key, 0, -1, desc=latest_first))
        for begin in range(0, len(ids), at_once):
            names = [each.decode(errors="replace") for each in ids[begin : begin + at_once]]
            pipe = self.client.pipeline(transaction=False)
            for job_id in names:
                pipe.hgetall(f"{self.prefix}job:{job_id}")
            read = await self._answered(partial(pipe.execute, raise_on_error=False))
            for job_id, fields in zip(names, read, strict=True):
                state = state_of(job_id, fields)
                if state is not None:
                    yield state

    async def queues(self) -> list[QueueState]:
        """Return every queue that has held a job or is paused, ordered by name. Errors: Overloaded."""
        found = await self._answered(lambda: self.scripts.run(control.QUEUES))
        return sorted(
            (
                QueueState(name.decode(), bool(paused), queued, running, int(due) / 1000 if due else None)
                for name, paused, queued, running, due in found
            ),
            key=lambda each: each.name,
        )

    async def actions(self) -> list[ActionJobs]:
        """Return the jobs of each action in each queue that has held some. Errors: Overloaded."""
        found = await self._answered(lambda: self.scripts.run(control.ACTIONS))
        return sorted(
            (
                ActionJobs(queue, action, queued, running, dead, float(due) / 1000 if due else None)
                for each, queued, running, dead, due in found
                for queue, _, action in (each.decode().partition(":"),)
            ),
            key=lambda each: (each.queue, each.action),
        )

    async def depth(self) -> Depth:
        """Return the size of all queues together. Errors: Overloaded."""
        pipe: Any = self.client.pipeline(transaction=False)
        for state in GIVEN_UP:
            pipe.zcard(self.prefix + state)
        dead = sum(await self._answered(lambda: pipe.execute()))
        queues = await self.queues()
        due = [each.due_at for each in queues if each.due_at is not None]
        return Depth(sum(each.queued for each in queues), dead, min(due, default=None))

    async def retry(self, job_id: str) -> bool:
        """Enqueue a failed, dead or cancelled job again; return False if there is no such job. Errors: Overloaded."""
        return bool(await self._answered(lambda: self.scripts.run(control.RETRY, job_id)))

    async def drop(self, job_id: str) -> bool:
        """Delete a job that is not running; return False if there is no such job. Errors: Overloaded."""
        return bool(await self._answered(lambda: self.scripts.run(control.DROP, job_id)))

    async def cancel(self, job_id: str) -> bool:
        """Cancel a queued or running job; return False if there is no such job. Errors: Overloaded."""
        run = partial(self.scripts.run, control.CANCEL, job_id, self.keep_ms, MOST_DEAD)
        return bool(await self._answered(run))

    async def pause(self, queue: str) -> None:
        """Let workers take no more jobs from a queue until it is resumed. Errors: Overloaded."""
        await self._answered(lambda: self.scripts.run(control.PAUSE, queue))

    async def resume(self, queue: str) -> None:
        """Let workers take jobs from a paused queue again. Errors: Overloaded."""
        await self._answered(lambda: self.scripts.run(control.RESUME, queue))

    def events(self) -> AsyncIterator[JobEvent]:
        """Yield what happens to jobs from now on; see `servey.jobs.redis.events`."""
        return events_of(self.url, self.prefix, self.scripts)

    async def pause_schedule(self, schedule: str) -> None:
        """Skip the slots of a schedule until it is resumed. Errors: Overloaded."""
        await self._answered(lambda: cast("Awaitable[Any]", self.client.sadd(self.skipped_schedules, schedule)))

    async def resume_schedule(self, schedule: str) -> None:
        """Run the slots of a paused schedule again. Errors: Overloaded."""
        await self._answered(lambda: cast("Awaitable[Any]", self.client.srem(self.skipped_schedules, schedule)))

    async def paused_schedules(self) -> frozenset[str]:
        """Return the names of the paused schedules. Errors: Overloaded."""
        found = await self._answered(lambda: cast("Awaitable[Any]", self.client.smembers(self.skipped_schedules)))
        return frozenset(each.decode() if isinstance(each, bytes) else each for each in found)

    async def record_run(self, schedule: str, run: Run) -> None:
        """Record a run of a schedule that has ended. Errors: Overloaded."""
        key, pipe = f"{self.prefix}runs:{schedule}", self.client.pipeline(transaction=False)
        pipe.lpush(key, to_json(asdict(run)))
        pipe.ltrim(key, 0, MOST_RUNS - 1)
        pipe.expire(key, RUNS_KEPT_SECONDS)
        await self._answered(pipe.execute)

    async def last_runs(self, schedules: Sequence[str]) -> Mapping[str, Sequence[Run]]:
        """Return the last runs of some schedules by name, the latest first. Errors: Overloaded."""
        pipe = self.client.pipeline(transaction=False)
        for each in schedules:
            pipe.lrange(f"{self.prefix}runs:{each}", 0, -1)
        found = await self._answered(pipe.execute)
        return {each: [Run(**from_json(run)) for run in runs] for each, runs in zip(schedules, found, strict=True)}

    async def workers(self) -> list[WorkerState]:
        """Return the workers that were heard of in the last half minute, ordered by name. Errors: Overloaded."""
        client: Any = self.client
        found = await self._answered(partial(client.zrange, f"{self.prefix}workers", 0, -1, withscores=True))
        known = [WorkerState(**from_json(facts), seen_at=seen_ms / 1000) for facts, seen_ms in found]
        return sorted(known, key=lambda each: each.name)

    @property
    def skipped_schedules(self) -> str:
        """The key of the set of paused schedules."""
        return f"{self.prefix}skipped"

    async def check(self) -> None:
        """Errors: redis.RedisError if Redis does not answer, if it takes no writes because it is full or read-only, or if
        something else is stored under the queues' keys.
        """
        await self.scripts.run(control.QUEUES)
        await self.client.set(f"{self.prefix}check", b"", ex=_CHECK_SECONDS)

    async def aclose(self) -> None:
        """Close connections."""
        await self.client.aclose()

    async def _answered(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Return what Redis answers within two seconds. Errors: Overloaded."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await ask()
        except (RedisError, OSError) as error:
            logger.warning("the queue of jobs does not answer: %s", error or type(error).__name__)
            raise Overloaded("The queue of jobs does not answer; try again shortly") from None


_ENDED = ("done", "failed", "dead", "cancelled")
