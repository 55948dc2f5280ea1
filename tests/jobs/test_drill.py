"""Limits, cancels and pauses over several real worker processes under load; these tests take long."""

import asyncio
import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from servey import Settings
from servey.core.queues import Job, JobLimit
from servey.jobs.redis.queue import RedisQueue
from tests.jobs.conftest import NAMESPACE, NOTE, PREFIX, client, worker
from tests.serving import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ACTIONS = (
    NOTE
    + """
import asyncio
from servey import *

@action(timeout=300)
async def busy(n: int, seconds: float) -> None:
    note("begin", n, time.time(), os.getpid())
    try:
        await asyncio.sleep(seconds)
    finally:
        note("end", n, time.time(), os.getpid())
"""
)


def with_queue(url: str, use: Any) -> Any:
    """What ``use(queue)`` returns, with a queue of its own."""

    async def main() -> Any:
        queue = RedisQueue.of(Settings(redis_url=url, namespace=NAMESPACE))
        try:
            return await use(queue)
        finally:
            await queue.aclose()

    return asyncio.run(main())


def busy(number: int, seconds: float, **more: Any) -> Job:
    return Job(f"job-{number}", "busy", {"n": number, "seconds": seconds}, trusted=True, **more)


def workers(stack: ExitStack, count: int, tmp_path: Any, url: str) -> None:
    (tmp_path / "actions.py").write_text(ACTIONS, encoding="utf-8")
    for _ in range(count):
        stack.enter_context(worker(tmp_path, url))
    with client(url) as redis:
        wait_until(
            lambda: int(redis.info("clients")["blocked_clients"]) == 2 * count, "the start of the workers", within=120
        )


SAMPLE = """
return {redis.call('SCARD', KEYS[1] .. 'used:busy'), redis.call('ZCARD', KEYS[1] .. 'jobs:default'),
  redis.call('ZCARD', KEYS[1] .. 'held:busy')}
"""


@contextmanager
def sampled(url: str) -> Iterator[list[tuple[int, int, int]]]:
    """How many jobs of a limit run, may be taken, and wait for the limit: what Redis says, all the time."""
    found: list[tuple[int, int, int]] = []
    stop = threading.Event()

    def sample() -> None:
        with client(url) as redis:
            ask = redis.register_script(SAMPLE)
            while not stop.wait(0.002):
                found.append(tuple(ask(keys=[PREFIX])))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()


def test_a_limit_is_exact_over_four_workers(tmp_path, notes, redis_of_jobs):
    url, seconds = redis_of_jobs.url, 60
    chance = random.Random(5)
    limit = JobLimit("busy", concurrent=3)
    durations = [chance.uniform(0.05, 0.25) for _ in range(round(seconds / 0.15 * 3))]

    async def fill(queue: RedisQueue) -> None:
        for begin in range(0, len(durations), 20):
            numbers = range(begin, min(begin + 20, len(durations)))
            await asyncio.gather(*(queue.enqueue(busy(n, durations[n], limit=limit)) for n in numbers))

    with ExitStack() as stack:
        workers(stack, 4, tmp_path, url)
        samples = stack.enter_context(sampled(url))
        with_queue(url, fill)
        notes.until(lambda found: sum(kind == "end" for kind, *_ in found) == len(durations), within=300)
    events = sorted(
        ((moment, kind) for kind, _, moment, _ in notes.read()), key=lambda each: (each[0], each[1] == "begin")
    )
    now = most = 0
    for _, kind in events:
        now += 1 if kind == "begin" else -1
        most = max(most, now)
    assert most == 3
    assert len({pid for *_, pid in notes.read()}) == 4
    assert len(samples) > 1000
    assert max(running for running, *_ in samples) == 3
    # While jobs wait for the limit, as many as it allows run or may be taken by the next worker that asks.
    assert [each for each in samples if each[2] and each[0] + each[1] < 3] == []


def test_a_hundred_running_jobs_over_three_workers_are_cancelled_within_a_second_each(tmp_path, notes, redis_of_jobs):
    url, count = redis_of_jobs.url, 100

    async def fill(queue: RedisQueue) -> None:
        for begin in range(0, count, 20):
            await asyncio.gather(*(queue.enqueue(busy(n, 200)) for n in range(begin, begin + 20)))

    async def cancel_all(queue: RedisQueue) -> dict[int, float]:
        asked: dict[int, float] = {}
        for number in range(count):
            asked[number] = time.time()
            assert await queue.cancel(f"job-{number}")
        return asked

    with ExitStack() as stack:
        workers(stack, 3, tmp_path, url)
        with_queue(url, fill)
        notes.until(lambda found: len(found) == count)
        asked = with_queue(url, cancel_all)
        found = notes.until(lambda found: len(found) == 2 * count)
        assert len({pid for *_, pid in found}) >= 2
        took = [moment - asked[number] for kind, number, moment, _ in found if kind == "end"]
        assert max(took) < 1, sorted(took)[-5:]
        wait_until(
            lambda: len(with_queue(url, lambda queue: queue.jobs(states=("cancelled",)))) == count,
            "the states",
            within=30,
        )


def test_no_job_is_lost_while_a_queue_is_paused_and_resumed_under_load(tmp_path, notes, redis_of_jobs):
    url, count = redis_of_jobs.url, 3000

    async def load(queue: RedisQueue) -> None:
        for begin in range(0, count, 20):
            jobs = [busy(n, 0.001, queue=f"q{n % 2}") for n in range(begin, begin + 20)]
            await asyncio.gather(*map(queue.enqueue, jobs))
            if begin % 500 == 0:
                await queue.pause("q0")
            elif begin % 500 == 300:
                await queue.resume("q0")
        await queue.resume("q0")

    with ExitStack() as stack:
        workers(stack, 2, tmp_path, url)
        with_queue(url, load)
        notes.until(lambda found: sum(kind == "end" for kind, *_ in found) >= count, within=200)
    assert sorted(number for kind, number, *_ in notes.read() if kind == "end") == list(range(count))
