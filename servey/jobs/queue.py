"""Which queue an app has: in Redis where there is one, else inside the process."""

from __future__ import annotations

from servey.queues import Queue
from servey.settings import Settings


def queue_of(settings: Settings) -> Queue:
    """The queue of the settings."""
    if settings.redis_url is not None:
        from servey.jobs.redis_queue import RedisQueue

        return RedisQueue.of(settings)
    from servey.jobs.memory import MemoryQueue

    return MemoryQueue(keep=settings.job_keep, at_once=settings.job_concurrency, grace=settings.job_grace)
