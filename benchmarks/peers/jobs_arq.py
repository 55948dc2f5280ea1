"""arq's side of the jobs benchmark: with its defaults, and tuned."""

import asyncio
import json
import os
from typing import Any

from arq import create_pool
from arq.connections import RedisSettings

from benchmarks.peers.jobs_log import note, paced


async def noted(ctx: dict[Any, Any], sent: float) -> None:
    note(sent)


async def waited(ctx: dict[Any, Any], sent: float) -> None:
    note(sent)
    await asyncio.sleep(0.02)


def dump(value: Any) -> bytes:
    return json.dumps(value).encode()


REDIS = RedisSettings.from_dsn(os.environ["SERVEY_REDIS_URL"])


class Plain:
    functions = (noted, waited)
    redis_settings = REDIS


class Tuned:
    functions = (noted, waited)
    redis_settings = REDIS
    max_jobs = 50
    poll_delay = 0.05
    queue_read_limit = 5000
    health_check_interval = 10
    job_serializer = staticmethod(dump)
    job_deserializer = staticmethod(json.loads)


async def enqueue(name: str, count: int, pause: float, *, tuned: bool) -> tuple[float, float]:
    """Enqueue jobs; return the median time to enqueue one, in seconds, and the jobs a second."""
    pool = await create_pool(REDIS, job_serializer=dump if tuned else None)

    async def one(sent: float) -> None:
        await pool.enqueue_job(name, sent)

    return await paced(one, count, pause)
