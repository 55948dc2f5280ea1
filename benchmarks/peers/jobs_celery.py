"""Celery's side of the jobs benchmark: as many threads as the others have concurrent jobs."""

import asyncio
import os
import time

from celery import Celery

from benchmarks.peers.jobs_log import note, paced

app = Celery(broker=os.environ["SERVEY_REDIS_URL"], backend=os.environ["SERVEY_REDIS_URL"])
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=4, broker_connection_retry_on_startup=True)


@app.task(name="noted")
def noted(sent: float) -> None:
    note(sent)


@app.task(name="waited")
def waited(sent: float) -> None:
    note(sent)
    time.sleep(0.02)


def enqueue(name: str, count: int, pause: float) -> tuple[float, float]:
    """Enqueue jobs; return the median time to enqueue one, in seconds, and the jobs a second."""

    async def one(sent: float) -> None:
        app.tasks[name].delay(sent)

    return asyncio.run(paced(one, count, pause))
