"""Jobs over a real Redis start at once, and workers with nothing to do hardly ask: real worker processes."""

import asyncio
import time
from contextlib import ExitStack

import pytest

from servey import Settings
from servey.core.queues import Job
from servey.jobs.redis.queue import RedisQueue
from tests.jobs.conftest import NAMESPACE, NOTE, PREFIX, client, worker
from tests.serving import run, wait_until

ACTIONS = (
    NOTE
    + """
from servey import *

@action
async def noted(sent: float) -> None:
    note(time.time() - sent)
"""
)


def test_idle_workers_send_redis_about_one_command_a_second_each(tmp_path, redis_of_jobs):
    (tmp_path / "actions.py").write_text(ACTIONS, encoding="utf-8")
    count, seconds = 3, 8
    with ExitStack() as stack, client(redis_of_jobs.url) as redis:
        for _ in range(count):
            stack.enter_context(worker(tmp_path, redis_of_jobs.url))
        # Each blocks on two reads: for jobs, and for cancelled jobs.
        wait_until(lambda: int(redis.info("clients")["blocked_clients"]) == 2 * count, "the start of the workers")
        before = redis.info("stats")["total_commands_processed"]
        time.sleep(seconds)
        commands = redis.info("stats")["total_commands_processed"] - before - 1
    assert commands / seconds / count < 1.5


@pytest.mark.anyio
@pytest.mark.parametrize("delay", [0, 0.5])
async def test_a_job_starts_when_it_is_due_in_a_worker_that_waits(tmp_path, notes, redis_of_jobs, delay):
    (tmp_path / "actions.py").write_text(ACTIONS, encoding="utf-8")
    queue = RedisQueue.of(Settings(redis_url=redis_of_jobs.url, namespace=NAMESPACE))
    with worker(tmp_path, redis_of_jobs.url), client(redis_of_jobs.url) as redis:
        wait_until(lambda: int(redis.info("clients")["blocked_clients"]) == 2, "the start of the worker")
        for number in range(11):
            job = Job(f"{number}", "noted", {"sent": time.time() + delay}, trusted=True)
            await queue.enqueue(job, delay=delay)
            await asyncio.to_thread(notes.until, lambda found, number=number: len(found) > number)
    waited = sorted(seconds for (seconds,) in notes.read())
    assert waited[0] >= -0.002  # two clocks of one machine, and milliseconds
    assert waited[len(waited) // 2] < 0.04, waited  # half of what looking every 50 ms and its work took
    await queue.aclose()


def test_a_worker_reads_the_queues_that_it_is_given(tmp_path, notes, redis_of_jobs):
    (tmp_path / "actions.py").write_text(ACTIONS, encoding="utf-8")

    async def enqueue() -> None:
        queue = RedisQueue.of(Settings(redis_url=redis_of_jobs.url, namespace=NAMESPACE))
        for name in ("mail", "other", "default", "new"):
            await queue.enqueue(Job(name, "noted", {"sent": 0}, trusted=True, queue=name))
        await queue.aclose()

    with worker(tmp_path, redis_of_jobs.url, "--queues", "mail=3,new", "--concurrency", "1"):
        asyncio.run(enqueue())
        notes.until(lambda found: len(found) == 2)
        with client(redis_of_jobs.url) as redis:
            states = {name: redis.hget(f"{PREFIX}job:{name}", "state") for name in ("mail", "other", "default", "new")}
            wait_until(lambda: redis.hget(f"{PREFIX}job:new", "state") == b"done", "the end of the second job")
        assert (states["other"], states["default"]) == (b"queued", b"queued")


def test_queues_that_cannot_be_are_named(tmp_path):
    done = run("-m", "servey", "worker", "--queues", "mail=0", cwd=tmp_path, timeout=120)
    assert done.returncode == 1
    assert "queues 'mail=0': the weight of 'mail' is '0'; use a number from 1 to 1000" in done.stderr
