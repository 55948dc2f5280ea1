"""SAQ's side of the jobs benchmark."""

import asyncio
import os
from typing import Any

from saq import Queue

from benchmarks.peers.jobs_log import note, paced

queue = Queue.from_url(os.environ["SERVEY_REDIS_URL"])


async def noted(ctx: dict[Any, Any], *, sent: float) -> None:
    note(sent)


async def waited(ctx: dict[Any, Any], *, sent: float) -> None:
    note(sent)
    await asyncio.sleep(0.02)


settings = {"queue": queue, "functions": [noted, waited], "concurrency": 50}


async def enqueue(name: str, count: int, pause: float) -> tuple[float, float]:
    """Enqueue jobs; return the median time to enqueue one, in seconds, and the jobs a second."""
    await queue.connect()

    async def one(sent: float) -> None:
        await queue.enqueue(name, sent=sent)

    return await paced(one, count, pause)
