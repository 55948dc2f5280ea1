"""A worker's side of the queue in Redis: it takes jobs and records their outcomes."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json
from redis.exceptions import RedisError

from servey.calls.validation_errors import without_inputs
from servey.core.errors import ConfigError
from servey.core.queues import MOST_DEAD, Job, Try
from servey.jobs.perform import WORKER_LOST, Outcome
from servey.jobs.redis import control, scripts
from servey.jobs.redis.client import BLOCK_SECONDS, blocking_client_of
from servey.jobs.redis.outcomes import Outcomes
from servey.jobs.redis.queue import RedisQueue
from servey.jobs.redis.stored import UNREADABLE, history_of, history_text, job_of

logger: logging.Logger = logging.getLogger("servey")


@dataclass(frozen=True)
class Taken:
    """A job that a worker holds until its lease ends.

    Shape: ``fence`` identifies the holder; ``suspect`` if its last worker did not say how it ended; ``killed`` counts the
    workers that died while it ran alone; ``history`` has the tries before this one.
    Units: ``started_at`` in seconds since 1970, by Redis' clock; ``late`` in seconds after the job was due.
    """

    job: Job
    fence: int
    tries: int
    suspect: bool
    killed: int
    history: tuple[Try, ...] = ()
    started_at: float = 0
    late: float = 0


@dataclass(frozen=True)
class Batch:
    """The jobs that a worker took in one step.

    Shape: ``queues`` are the names of all queues if the worker asked for them.
    Units: ``wait`` in seconds until the next delayed job is due, or None without one.
    """

    taken: Sequence[Taken]
    wait: float | None
    queues: frozenset[str] = frozenset()


class JobSource:
    """The jobs of some queues, for one worker. Shape: ``worker`` is ``host:pid`` and a random part."""

    def __init__(self, queue: RedisQueue) -> None:
        self.worker: str = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self._queue = queue
        self._scripts = queue.scripts
        self._blocking: Any = blocking_client_of(queue.url, queue.prefix)
        self._outcomes = Outcomes(queue)

    async def take(self, queues: Sequence[tuple[str, int]], most: int, all_names: bool = False) -> Batch:
        """Take up to ``most`` jobs that are due. At most the last is a suspect.

        First up to the given number of each queue is taken, then as many as there is room for, in the order of the queues.
        A job that cannot be read is moved to the dead-letter list.
        """
        queue = self._queue
        args = [most, queue.lease_ms, self.worker, queue.keep_ms, MOST_DEAD, int(all_names)]
        wait, found, names = await self._scripts.run(scripts.TAKE, *args, *(each for pair in queues for each in pair))
        taken: list[Taken] = []
        for job_id, body, params, fence, starts, tries, killed, history, last_worker, last_start, now, due in found:
            try:
                job = job_of(job_id.decode(), body, params)
                past = history_of(history)
            except (ValueError, ConfigError) as error:
                with suppress(RedisError, OSError):  # if this fails, it is taken again later
                    await self._give_up(job_id, error)
            else:
                started_at = int(now) / 1000
                if starts > 1:
                    past += (Try(tries + 1, last_worker.decode(), last_start / 1000, started_at, WORKER_LOST),)
                taken.append(Taken(job, fence, tries, starts > 1, killed, past, started_at, started_at - due / 1000))
        return Batch(taken, None if wait < 0 else wait / 1000, frozenset(each.decode() for each in names))

    async def _give_up(self, job_id: bytes, error: Exception) -> None:
        shown = job_id.decode(errors="replace")
        logger.error("job %s cannot be read and is given up: %s", shown, " ".join(without_inputs(error).split())[:500])
        await self._scripts.run(scripts.GIVE_UP, job_id, to_json(UNREADABLE), self._queue.keep_ms, MOST_DEAD)

    async def wait_for_jobs(self, queues: Sequence[str]) -> str | None:
        """Wait until one of the queues has a job for a waiting worker, and return its name; None after some seconds."""
        prefix = f"{self._queue.prefix}wake:"
        found = await self._blocking.blpop([prefix + each for each in queues], BLOCK_SECONDS)
        return None if found is None else found[0].decode().removeprefix(prefix)

    async def wait_for_cancelled(self) -> str | None:
        """Wait until a job of this worker is cancelled, and return its id; None after some seconds."""
        found = await self._blocking.blpop([f"{self._queue.prefix}cancelled:{self.worker}"], BLOCK_SECONDS)
        return None if found is None else found[1].decode()

    async def wake(self, queues: Sequence[str]) -> None:
        """Let another waiting worker look at these queues."""
        await self._scripts.run(control.WAKE, *queues)

    async def mark_alone(self, taken: Taken, alone: bool) -> bool:
        """Record whether nothing else runs in the process of a job; return False if another worker has the job."""
        return bool(await self._scripts.run(scripts.ALONE, taken.job.id, taken.fence, int(alone)))

    async def finish(self, taken: Taken, outcome: Outcome, seconds: float = 0) -> bool:
        """Record the outcome of a try and how long it took; return False, recording nothing, if the job had already ended.

        If another worker has taken the job meanwhile, the first success counts, and this worker's failure does not.
        """
        tries, history = taken.tries + outcome.tried, taken.history
        if outcome.tried:
            ended_at = taken.started_at + seconds
            history += (Try(tries, self.worker, taken.started_at, round(ended_at, 3), outcome.error),)
        ended = [taken.job.id, taken.fence, outcome.state, tries, to_json(outcome.result), to_json(outcome.error)]
        return await self._outcomes.record([*ended, round(outcome.wait * 1000), history_text(history)])

    async def give_back(self, taken: Taken) -> bool:
        """Let another worker run a job from its beginning, as if this one had not taken it."""
        args = [taken.job.id, taken.fence, self._queue.keep_ms, MOST_DEAD]
        return bool(await self._scripts.run(scripts.GIVE_BACK, *args))

    async def aclose(self) -> None:
        """Record the last outcomes, and close the connections that block."""
        await self._outcomes.aclose()
        await self._blocking.aclose()
