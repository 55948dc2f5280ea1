"""Choose the queue of an app: in Redis if one is configured, otherwise in the process."""

from __future__ import annotations

from servey.core.queues import Queue
from servey.core.settings import Settings


def queue_of(settings: Settings) -> Queue:
    """Return the queue that the settings ask for."""
    if settings.redis_url is not None:
        from servey.jobs.redis.queue import RedisQueue

        return RedisQueue.of(settings)
    from servey.jobs.memory import MemoryQueue

    return MemoryQueue(
        keep=settings.job_keep,
        at_once=settings.job_concurrency,
        grace=settings.job_grace,
        max_entries=settings.job_max_entries,
        max_bytes=settings.job_max_bytes,
    )
