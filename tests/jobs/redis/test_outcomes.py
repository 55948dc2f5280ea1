"""Outcomes of jobs that end at once are recorded together, each for itself."""

import asyncio

import pytest
from redis.exceptions import ResponseError

from servey.core.queues import Job
from servey.jobs.perform import Outcome
from servey.jobs.redis.source import JobSource
from tests.jobs.conftest import PREFIX, client
from tests.jobs.redis.project import queue_at

pytestmark = pytest.mark.anyio


async def taken_jobs(queue, source, count):
    for n in range(count):
        await queue.enqueue(Job(f"job-{n}", "quick", {}, trusted=True))
    return (await source.take([("default", 100)], count)).taken


async def test_many_outcomes_take_few_commands_and_a_broken_job_spoils_no_other(redis_of_jobs):
    queue = queue_at(redis_of_jobs.url)
    source = JobSource(queue)
    taken = await taken_jobs(queue, source, 20)
    with client(redis_of_jobs.url) as redis:
        redis.set(f"{PREFIX}job:job-7", "something else")
        before = redis.info("commandstats")["cmdstat_evalsha"]["calls"]
        found = await asyncio.gather(
            *(source.finish(each, Outcome("done", result=each.job.id)) for each in taken), return_exceptions=True
        )
        assert redis.info("commandstats")["cmdstat_evalsha"]["calls"] - before <= 3
    # Jobs of the same millisecond are taken in any order.
    failed = {each.job.id: error for each, error in zip(taken, found, strict=True) if error is not True}
    assert failed.keys() == {"job-7"}
    assert isinstance(failed["job-7"], ResponseError)
    assert str(failed["job-7"]).startswith("WRONGTYPE")
    states = [await queue.state(each.job.id) for each in taken if each.job.id != "job-7"]
    assert [each.result for each in states] == [each.job.id for each in states]
    await source.aclose()
    await queue.aclose()


async def test_large_results_are_sent_apart(redis_of_jobs):
    queue = queue_at(redis_of_jobs.url)
    source = JobSource(queue)
    taken = await taken_jobs(queue, source, 6)
    large = "x" * 600_000
    assert all(await asyncio.gather(*(source.finish(each, Outcome("done", result=large)) for each in taken)))
    with client(redis_of_jobs.url) as redis:
        slowest = redis.info("clients")["client_recent_max_input_buffer"]
        assert slowest < 3 << 20
        assert all(redis.hstrlen(f"{PREFIX}job:{each.job.id}", "result") > 600_000 for each in taken)
    await source.aclose()
    await queue.aclose()


async def test_outcomes_of_a_stopping_worker_are_recorded(redis_of_jobs):
    queue = queue_at(redis_of_jobs.url)
    source = JobSource(queue)
    taken = await taken_jobs(queue, source, 2)
    waiting = [asyncio.create_task(source.finish(each, Outcome("done"))) for each in taken]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await source.aclose()
    assert [(await queue.state(each.job.id)).state for each in taken] == ["done", "done"]
    await queue.aclose()
