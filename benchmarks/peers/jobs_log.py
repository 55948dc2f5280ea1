"""What every peer of the jobs benchmark does in a job, and how all enqueue them."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from statistics import median


def note(sent: float) -> None:
    """Append how long a job waited to the log; a job without a time is not logged."""
    if sent:
        with open(os.environ["JOBS_LOG"], "a", encoding="utf-8") as log:
            log.write(f"{time.time() - sent}\n")


async def paced(enqueue: Callable[[float], Awaitable[None]], count: int, pause: float) -> tuple[float, float]:
    """Enqueue a job in each ``pause``; return the median time to enqueue one, in seconds, and the jobs a second."""
    took = []
    start = time.perf_counter()
    for number in range(count):
        begun = time.perf_counter()
        await enqueue(time.time() if pause else 0.0)
        took.append(time.perf_counter() - begun)
        if pause:
            await asyncio.sleep(max(0.0, start + (number + 1) * pause - time.perf_counter()))
    return median(took), count / (time.perf_counter() - start)
