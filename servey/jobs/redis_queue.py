"""A queue in Redis, which the workers of arq take jobs from."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import redis.asyncio as redis
from arq.constants import in_progress_key_prefix
from pydantic import TypeAdapter
from pydantic_core import from_json, to_json
from redis.asyncio.retry import Retry as RedisRetry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError, TimeoutError

from servey.compat.redis import cancellable
from servey.errors import ConfigError, Overloaded
from servey.jobs import redis_scripts as scripts
from servey.jobs.perform import Outcome
from servey.queues import MOST_DEAD, Depth, Job, JobState
from servey.settings import Settings

QUEUE = "servey:jobs"
"""The sorted set that arq polls."""
DEAD = "servey:dead"

_JOB = "servey:job:"
_JOBS: TypeAdapter[Job] = TypeAdapter(Job)
_AT_ONCE = 500


def client_of(url: str) -> redis.Redis:
    """A client that tries again for a moment, and then says that Redis does not answer.

    Errors: ConfigError for a URL that is none.
    """
    try:
        client: redis.Redis = cancellable(
            redis.Redis.from_url(
                url,
                socket_connect_timeout=2,
                socket_timeout=5,
                health_check_interval=10,
                retry=RedisRetry(ExponentialBackoff(cap=0.5, base=0.05), 3),
                retry_on_error=[ConnectionError, TimeoutError],
            )
        )
        return client
    except ValueError as error:
        raise ConfigError(f"setting SERVEY_REDIS_URL: {error}") from None


@dataclass(frozen=True)
class Taken:
    """A job that this worker has, until its lease ends: ``fence`` is what proves it, ``lost`` how many workers have died
    of it.
    """

    job: Job
    fence: int
    tries: int
    lost: int


class RedisQueue:
    """Jobs in Redis: what a process has enqueued outlives it.

    Units: ``keep`` and ``lease`` in seconds.
    """

    def __init__(self, client: redis.Redis, *, keep: float, lease: float) -> None:
        self.client = client
        self._scripts: dict[str, Any] = {}
        self._keep_ms = round(keep * 1000)
        self.lease_ms = round(lease * 1000)

    @classmethod
    def of(cls, settings: Settings) -> RedisQueue:
        """The queue of the settings."""
        assert settings.redis_url is not None
        return cls(client_of(settings.redis_url), keep=settings.job_keep, lease=settings.job_lease)

    async def enqueue(self, job: Job, *, delay: float = 0, key: str | None = None) -> str:
        """Takes a job; gives its id, or that of the job of the same action that came with this ``key`` before.

        Errors: Overloaded where Redis does not answer, so that the job may or may not be there.
        """
        due_at = time.time() + delay
        keys = [_JOB + job.id, QUEUE, f"servey:key:{job.title}:{key}" if key is not None else ""]
        words = [job.id, to_json(asdict(job)), round(due_at * 1000), due_at, self._keep_ms]
        try:
            return cast(bytes, await self._run(scripts.ENQUEUE, keys, words)).decode()
        except (ConnectionError, TimeoutError):
            raise Overloaded("The queue of jobs does not answer; try again shortly") from None

    async def state(self, job_id: str) -> JobState | None:
        """What has become of a job; None for one that is not known, or not any more."""
        return _state_of(await cast(Awaitable[dict[bytes, bytes]], self.client.hgetall(_JOB + job_id)))

    async def report(self, job_id: str, progress: Mapping[str, Any]) -> None:
        """Notes how far a running job has come."""
        await self._run(scripts.REPORT, [_JOB + job_id], [to_json(dict(progress))])

    async def jobs(self) -> list[JobState]:
        """Every job that waits, runs or is dead; the one that is due first comes first."""
        ids: list[bytes] = [*await self.client.zrange(QUEUE, 0, -1), *await self.client.zrange(DEAD, 0, -1)]
        found: list[JobState | None] = []
        for begin in range(0, len(ids), _AT_ONCE):
            pipe = self.client.pipeline(transaction=False)
            for job_id in ids[begin : begin + _AT_ONCE]:
                pipe.hgetall(_JOB + job_id.decode())
            found += map(_state_of, await pipe.execute())
        return sorted(filter(None, found), key=lambda each: each.due_at)

    async def depth(self) -> Depth:
        """How much lies in it."""
        pipe: Any = self.client.pipeline(transaction=False)
        pipe.zcard(QUEUE).zcard(DEAD).zrange(QUEUE, 0, 0, withscores=True)
        queued, dead, first = await pipe.execute()
        return Depth(queued, dead, first[0][1] / 1000 if first else None)

    async def retry(self, job_id: str) -> bool:
        """Lets a dead job begin anew; False where there is no such dead job."""
        now = time.time()
        return bool(await self._run(scripts.RETRY, [_JOB + job_id, QUEUE, DEAD], [job_id, round(now * 1000), now]))

    async def drop(self, job_id: str) -> bool:
        """Forgets a dead job, or one that waits; False where there is no such job."""
        return bool(await self._run(scripts.DROP, [_JOB + job_id, QUEUE, DEAD], [job_id]))

    async def check(self) -> None:
        """Errors: redis.RedisError where Redis does not answer."""
        await cast(Awaitable[bool], self.client.ping())

    async def aclose(self) -> None:
        """Closes the connections."""
        await self.client.aclose()

    # ------------------------------------------------------------------------------------------------ for its workers

    async def take(self, job_ids: Sequence[str], most: int) -> list[Taken]:
        """Makes as many as ``most`` of some jobs this worker's: those that are due, and that no worker has."""
        words = [most, self.lease_ms, round(time.time() * 1000), *job_ids]
        found = await self._run(scripts.TAKE, [QUEUE, _JOB, in_progress_key_prefix], words)
        return [Taken(_JOBS.validate_json(body), fence, tries, starts - 1) for body, fence, starts, tries in found]

    async def renew(self, taken: Taken) -> bool:
        """Begins the lease of a job anew; False where another worker has the job by now."""
        keys = [_JOB + taken.job.id, in_progress_key_prefix + taken.job.id]
        return bool(await self._run(scripts.RENEW, keys, [taken.fence, self.lease_ms]))

    async def finish(self, taken: Taken, outcome: Outcome) -> bool:
        """Notes what came of a job; False where another worker has the job by now, and nothing was noted."""
        job_id = taken.job.id
        now = time.time()
        due_at = now + outcome.wait
        keys = [_JOB + job_id, QUEUE, in_progress_key_prefix + job_id, DEAD]
        words = [
            job_id,
            taken.fence,
            outcome.state,
            taken.tries + outcome.tried,
            to_json(outcome.result),
            to_json(outcome.error),
        ]
        words += [round(due_at * 1000), due_at, self._keep_ms, now, MOST_DEAD]
        return bool(await self._run(scripts.FINISH, keys, words))

    async def give_back(self, taken: Taken) -> bool:
        """Lets another worker run a job from its beginning, as if this one had not taken it."""
        keys = [_JOB + taken.job.id, QUEUE, in_progress_key_prefix + taken.job.id]
        words = [taken.job.id, taken.fence, round(time.time() * 1000)]
        return bool(await self._run(scripts.GIVE_BACK, keys, words))

    async def _run(self, script: str, keys: list[str], words: list[Any]) -> Any:
        known = self._scripts.get(script)
        if known is None:
            known = self._scripts[script] = self.client.register_script(script)
        return await known(keys=keys, args=words)


def _state_of(fields: dict[bytes, bytes]) -> JobState | None:
    body = fields.get(b"job")
    if body is None:
        return None
    return JobState(
        _JOBS.validate_json(body),
        cast(Any, fields[b"state"].decode()),
        int(fields[b"tries"]),
        float(fields[b"due_at"]),
        from_json(fields.get(b"progress") or b"null"),
        from_json(fields.get(b"result") or b"null"),
        from_json(fields.get(b"error") or b"null"),
    )


async def keep_trying(what: Any) -> Any:
    """What a call to Redis gives, however long Redis does not answer; ``what`` makes the call."""
    wait = 0.05
    while True:
        try:
            return await what()
        except (ConnectionError, TimeoutError, OSError):
            await asyncio.sleep(wait)
            wait = min(wait * 2, 2)
