"""Leases of jobs: workers that are killed, stopped, or too busy to renew them."""

import asyncio
import signal
import time

import pytest
from redis.exceptions import (
    ClusterDownError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from servey.core.errors import Overloaded
from servey.core.queues import Job, Retry
from servey.jobs.perform import Outcome
from servey.jobs.redis import scripts
from servey.jobs.redis.client import keep_trying
from servey.jobs.redis.queue import RedisQueue
from servey.jobs.redis.slots import HOLD_SLOT, TAKE_SLOT
from servey.jobs.redis.source import JobSource
from tests.jobs.conftest import NOTE, PREFIX, client, worker
from tests.jobs.redis.project import enqueue, queue_at, state
from tests.serving import wait_until

ALL = [("default", 100)]

pytestmark = pytest.mark.anyio


def test_a_killed_workers_job_runs_again_within_its_lease(folder, notes, redis_of_jobs):
    job_id = enqueue(redis_of_jobs.url, "long", {"n": 1, "seconds": 3})
    with worker(folder, redis_of_jobs.url, SERVEY_JOB_LEASE="2") as first:
        notes.until(lambda found: len(found) == 1)
        first.kill()
        killed = time.monotonic()
        with worker(folder, redis_of_jobs.url, SERVEY_JOB_LEASE="2"):
            notes.until(lambda found: len(found) == 2)
            assert time.monotonic() - killed < 30
            wait_until(lambda: state(redis_of_jobs.url, job_id).state == "done", "the end of the job")
    assert [what for what, *_ in notes.read()] == ["begin", "begin", "end"]


def test_a_worker_that_lost_its_lease_can_not_finish_the_job(folder, notes, redis_of_jobs):
    job_id = enqueue(redis_of_jobs.url, "long", {"n": 1, "seconds": 3})
    with worker(folder, redis_of_jobs.url, SERVEY_JOB_LEASE="1") as first:
        notes.until(lambda found: len(found) == 1)
        first.send_signal(signal.SIGSTOP)
        with worker(folder, redis_of_jobs.url, SERVEY_JOB_LEASE="1") as second:
            found = notes.until(lambda found: len(found) == 2)
            assert [pid for *_, pid in found] == [first.pid, second.pid]
            first.send_signal(signal.SIGCONT)
            wait_until(lambda: state(redis_of_jobs.url, job_id).state == "done", "the end of the job")
        with client(redis_of_jobs.url) as redis:
            assert int(redis.hget(f"{PREFIX}job:{job_id}", "fence")) == 2
            assert redis.zcard(f"{PREFIX}jobs:default") == 0


async def taken_twice(queue: RedisQueue):
    """A job whose first holder has lost its lease to a second one."""
    job_id = await queue.enqueue(Job("one", "quick", {}, trusted=True))
    source = JobSource(queue)
    (first,) = (await source.take(ALL, 5)).taken
    assert (await source.take(ALL, 5)).taken == []  # it has its lease
    async with asyncio.timeout(5):
        while not (again := (await source.take(ALL, 5)).taken):
            await asyncio.sleep(0.05)
    (second,) = again
    assert (second.fence, second.suspect, second.killed) == (2, True, 0)
    return source, job_id, first, second


async def renewed(queue: RedisQueue, taken) -> bool:
    answer = await queue.scripts.run(scripts.RENEW, taken.job.id, taken.fence, queue.lease_ms)
    return answer == scripts.RENEWED


async def test_a_holder_that_lost_a_job_can_neither_keep_nor_fail_it(redis_of_jobs):
    queue = queue_at(redis_of_jobs.url, lease=1)
    source, job_id, first, second = await taken_twice(queue)
    assert not await renewed(queue, first)
    assert not await source.finish(first, Outcome("dead", error={"detail": "no", "code": "internal"}))
    assert not await source.give_back(first)
    assert (await queue.state(job_id)).state == "running"
    assert await renewed(queue, second)
    assert await source.finish(second, Outcome("done", result=2))
    assert (await queue.state(job_id)).result == 2
    assert not await renewed(queue, second)  # a job that has ended does not run again
    await source.aclose()
    await queue.aclose()


async def test_a_full_redis_lets_jobs_run_and_end(redis_of_jobs):
    queue = queue_at(redis_of_jobs.url)
    source = JobSource(queue)
    jobs = [await queue.enqueue(Job(f"job-{delay}", "quick", {}, trusted=True), delay=delay) for delay in (0, 0.05)]
    (first,) = (await source.take(ALL, 5)).taken
    with client(redis_of_jobs.url) as redis:
        redis.config_set("maxmemory", 1)
        try:
            assert await renewed(queue, first)
            await asyncio.sleep(0.06)
            (second,) = (await source.take(ALL, 5)).taken
            assert await queue.cancel(jobs[1])
            assert all(await asyncio.gather(*(source.finish(each, Outcome("done")) for each in (first, second))))
            with pytest.raises(Overloaded):
                await queue.enqueue(Job("another", "quick", {}, trusted=True))
            slot, running = f"{PREFIX}slot:a", f"{PREFIX}running:a"
            redis.config_set("maxmemory", 0)
            assert await queue.scripts.run_on(TAKE_SLOT, [slot, running, f"{PREFIX}skipped"], ["me", 1000, 1000, "a"])
            redis.config_set("maxmemory", 1)
            assert await queue.scripts.run_on(HOLD_SLOT, [running, slot], ["me", 60_000])
            assert redis.pttl(running) > 50_000
            assert not await queue.scripts.run_on(HOLD_SLOT, [running, slot], ["another", 60_000])
        finally:
            redis.config_set("maxmemory", 0)
    assert [(await queue.state(each)).state for each in jobs] == ["done", "cancelled"]
    await source.aclose()
    await queue.aclose()


@pytest.mark.parametrize(
    "error",
    [
        ReadOnlyError("You can't write against a read only replica."),
        OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        MasterDownError("Link with MASTER is down"),
        ClusterDownError("The cluster is down"),
        TryAgainError("Multiple keys request during rehashing of slot"),
        ResponseError("MISCONF Redis is configured to save RDB snapshots"),
        ResponseError("READONLY within the result of a script"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_outcome_is_recorded_once_redis_takes_writes_again(error):
    errors = [error]

    async def write() -> int:
        if errors:
            raise errors.pop()
        return 1

    assert await keep_trying(write) == 1


async def test_of_two_holders_of_a_job_the_first_success_counts(redis_of_jobs):
    queue = queue_at(redis_of_jobs.url, lease=1)
    source, job_id, first, second = await taken_twice(queue)
    assert await source.finish(first, Outcome("done", result=1))
    assert not await renewed(queue, second)
    assert not await source.finish(second, Outcome("done", result=2))
    assert not await source.finish(second, Outcome("dead"))
    assert ((await queue.state(job_id)).state, (await queue.state(job_id)).result) == ("done", 1)
    assert (await source.take(ALL, 5)).taken == []
    await source.aclose()
    await queue.aclose()


def test_a_job_that_kills_its_workers_is_given_up_and_its_neighbours_are_not(folder, notes, redis_of_jobs):
    url = redis_of_jobs.url
    neighbours = [enqueue(url, "long", {"n": n, "seconds": 0.3}) for n in range(3)]
    job_id = enqueue(url, "kills_its_worker", {})

    def kills() -> int:
        return sum(what == "kills" for what, *_ in notes.read())

    for count in (1, 2, 3):
        with worker(folder, url, SERVEY_JOB_LEASE="1") as process:
            assert process.wait(60) == -signal.SIGKILL
            assert kills() == count
    with worker(folder, url, SERVEY_JOB_LEASE="1"):
        wait_until(lambda: state(url, job_id).state == "dead", "the end of the job")
        wait_until(lambda: all(state(url, each).state == "done" for each in neighbours), "the end of its neighbours")
    assert state(url, job_id).error["code"] == "worker_lost"
    assert kills() == 3


BLOCKING = (
    NOTE
    + """
import asyncio, sys
from servey import *

@action(timeout=60)
async def blocks() -> str:
    note("blocks", os.getpid())
    time.sleep(4)
    return "made"

@action(timeout=60)
async def rests() -> str:
    note("rests", os.getpid())
    await asyncio.sleep(2)
    return "made"

@action
async def exits_in_a_task() -> None:
    async def child():
        sys.exit(3)
    await asyncio.create_task(child())

@action(triggers=FixedRateTrigger(1), timeout=60)
async def tick() -> None:
    note("tick", os.getpid())
    time.sleep(2.5)
    note("tock", os.getpid())
"""
)


def test_a_loop_that_is_blocked_for_longer_than_the_lease_keeps_its_jobs_and_schedules(tmp_path, notes, redis_of_jobs):
    (tmp_path / "actions.py").write_text(BLOCKING, encoding="utf-8")
    url = redis_of_jobs.url
    once = Retry(max_tries=1)
    with worker(tmp_path, url, SERVEY_JOB_LEASE="1") as first, worker(tmp_path, url, SERVEY_JOB_LEASE="1") as second:
        notes.until(lambda found: found)
        ids = [enqueue(url, name, {}, retry=once) for name in ("rests", "blocks", "exits_in_a_task")]
        notes.until(lambda found: sum(what == "tock" for what, *_ in found) >= 3)
        wait_until(lambda: all(state(url, each).state != "running" for each in ids), "the end of the jobs", within=60)
        assert (first.poll(), second.poll()) == (None, None)
        states = [state(url, each) for each in ids]
        found = [what for what, *_ in notes.read()]
    assert [each.state for each in states] == ["done", "done", "failed"]
    assert (found.count("blocks"), found.count("rests")) == (1, 1)
    ticks = [what for what in found if what in ("tick", "tock")]
    assert ticks == ["tick", "tock"] * (len(ticks) // 2) + ["tick"] * (len(ticks) % 2)
