"""The project of the workers, and its queue."""

import asyncio
import random
import time

from servey import Settings
from servey.core.queues import Job
from servey.jobs.redis.queue import RedisQueue
from tests.jobs.conftest import NAMESPACE, NOTE

ACTIONS = (
    NOTE
    + """
import asyncio
from servey import *

@action(triggers=WEB_POST)
def quick(n: int, context: Context, authorization: Authorization | None) -> int:
    note("quick", n, os.getpid(), authorization.subject_id if authorization else None, context.request_id)
    return n * 2

@action(timeout=600)
async def long(n: int, seconds: float) -> None:
    note("begin", n, os.getpid())
    await asyncio.sleep(seconds)
    note("end", n, os.getpid())

@action(retry=Retry(max_tries=2, backoff=0.05))
def fails() -> None:
    note("fails")
    raise RuntimeError("secret text")

@action
def frozen() -> None:
    import gc
    note(gc.get_freeze_count())

@action
def kills_its_worker() -> None:
    note("kills")
    os.kill(os.getpid(), 9)
"""
)


def queue_at(url: str, *, lease: float = 2) -> RedisQueue:
    return RedisQueue.of(Settings(redis_url=url, job_lease=lease, namespace=NAMESPACE))


def enqueue(url: str, act: str, params, **more) -> str:
    """The id of a job that the app itself enqueues."""

    async def main() -> str:
        queue = queue_at(url)
        job = Job(f"{act}-{random.getrandbits(64):x}", act, params, trusted=True, enqueued_at=time.time(), **more)
        try:
            return await queue.enqueue(job)
        finally:
            await queue.aclose()

    return asyncio.run(main())


def state(url: str, job_id: str):
    async def main():
        queue = queue_at(url)
        try:
            return await queue.state(job_id)
        finally:
            await queue.aclose()

    return asyncio.run(main())
