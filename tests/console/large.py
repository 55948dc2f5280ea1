"""An app with 500 actions, and 100,000 jobs for it: 70,000 wait, the others have ended."""

import asyncio
import sys
import time

from servey import WEB_POST, Group, Servey, Settings, TtlCacheControl, create_app, websocket_event_channel
from servey.core.queues import Job, Retry
from servey.jobs.perform import Outcome
from servey.jobs.redis.queue import RedisQueue
from servey.jobs.redis.source import JobSource
from tests.console.app import SECRET

ACTIONS, JOBS = 500, 100_000
ENDS = (
    Outcome("done", result=1),
    Outcome("failed", error={"detail": "The parcel has no address", "code": "no_address"}),
    Outcome("dead", error={"detail": "The carrier does not answer", "code": "carrier"}),
)
ENDED_EACH = 10_000
_AT_ONCE = 100

parcels = websocket_event_channel("parcels", dict[str, int], history=50)


def made(number: int):
    @Group(tags=(f"group{number % 20}",)).action(
        name=f"act{number}", triggers=WEB_POST, cache_control=TtlCacheControl(600) if number == 0 else None
    )
    async def act(parcel: int, note: str = "") -> int:
        """Deliver a parcel."""
        return parcel

    return act


def app(**more: object) -> Servey:
    # In production workers run jobs, and here there is none.
    given = {"env": "prod", "console": True, "jwt_secret_key": SECRET, "login_password": "open sesame", **more}
    settings = Settings(**given)  # type: ignore[arg-type]
    return create_app(actions=[made(number) for number in range(ACTIONS)], channels=[parcels], settings=settings)


async def fill(app: Servey) -> None:
    queue = app.runtime.queue
    assert isinstance(queue, RedisQueue)
    source, ended = JobSource(queue), len(ENDS) * ENDED_EACH
    for start in range(0, JOBS, _AT_ONCE):
        jobs = (
            Job(f"job-{number}", f"act{number % ACTIONS}", {"parcel": number}, enqueued_at=time.time(), retry=Retry(1))
            for number in range(start, start + _AT_ONCE)
        )
        await asyncio.gather(*(queue.enqueue(job) for job in jobs))
        if start < ended:
            taken = (await source.take([("default", _AT_ONCE)], _AT_ONCE)).taken
            outcome = ENDS[start // ENDED_EACH]
            await asyncio.gather(*(source.finish(each, outcome) for each in taken))
    await source.aclose()
    for number in range(200):
        await parcels.publish({"parcel": number})
    depth = await queue.depth()
    assert (depth.queued, depth.dead) == (JOBS - ended, 2 * ENDED_EACH)


async def main(url: str, namespace: str) -> None:
    made = app(redis_url=url, namespace=namespace)
    async with made.runtime.lifespan():
        await fill(made)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
