"""Pausing, ordering, keys and lists of jobs: the same for the queue in memory and the one in Redis."""

import asyncio
import time
from typing import Any

import pytest

from servey import ConfigError, Retry, ServeyError, action, create_app
from tests.jobs.actions import SEEN, fails, job, work
from tests.jobs.conftest import ended, running, until

pytestmark = pytest.mark.anyio


async def test_a_paused_queue_waits_until_it_is_resumed_and_others_go_on(dev):
    async with running(work, settings=dev) as runtime:
        queue = runtime.queue
        await queue.pause("mail")
        await queue.enqueue(job("later", queue="mail"))
        await queue.enqueue(job("now", queue="other"))
        await ended(queue, "now")
        found = {each.name: each for each in await queue.queues()}
        assert (found["mail"].paused, found["mail"].queued, found["mail"].due_at is not None) == (True, 1, True)
        assert (found["other"].paused, found["other"].queued, found["other"].running) == (False, 0, 0)
        assert SEEN == ["now"]
        await queue.resume("mail")
        await ended(queue, "later")
        assert SEEN == ["now", "later"]


async def test_jobs_of_a_queue_run_by_priority_and_then_by_due_time(dev):
    async with running(work, settings=dev.model_copy(update={"job_concurrency": 1})) as runtime:
        queue = runtime.queue
        await queue.pause("default")
        for name, priority in (("low", -100), ("first", 0), ("second", 0), ("high", 100), ("higher than none", 1)):
            await queue.enqueue(job(name, priority=priority))
            await asyncio.sleep(0.002)  # due times are in milliseconds
        await queue.resume("default")
        await ended(queue, "low")
        assert SEEN == ["high", "higher than none", "first", "second", "low"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"queue": "no spaces"}, "cannot name a queue"),
        ({"queue": 5}, "cannot name a queue"),
        ({"priority": 101}, "from -100 to 100"),
        ({"priority": True}, "from -100 to 100"),
        ({"limit": 3}, "write e.g. limit=Limit"),
    ],
)
def test_options_of_jobs_that_cannot_work_stop_the_start(options, problem):
    with pytest.raises(ConfigError, match=problem):

        @action(**options)
        def broken() -> None: ...

        create_app(actions=[broken])


async def test_an_enqueuer_says_how_long_its_key_is_held(dev):
    async with running(work, settings=dev) as runtime, runtime.context("test", trusted=True) as context:
        first = await context.enqueue(work, {"what": "a"}, key="k", unique_for=0)
        await ended(runtime.queue, first)
        assert await context.enqueue(work, {"what": "a"}, key="k", unique_for=0) != first
        with pytest.raises(ServeyError, match="time for which the key of a job is held is -1"):
            await context.enqueue(work, {"what": "a"}, key="k", unique_for=-1)


async def test_a_key_is_held_while_its_job_waits_and_as_long_after_as_it_says(dev):
    async with running(work, settings=dev.model_copy(update={"job_keep": 1})) as runtime:
        queue = runtime.queue
        assert await queue.enqueue(job("one", unique_for=0), delay=1.5, key="k") == "one"
        await asyncio.sleep(1.2)  # longer than states are kept
        assert await queue.enqueue(job("two", unique_for=0), key="k") == "one"
        await until(lambda: SEEN)
        await ended(queue, "one")
        assert await queue.enqueue(job("three", unique_for=60), key="k") == "three"
        await ended(queue, "three")
        await asyncio.sleep(1.2)
        assert await queue.enqueue(job("four"), key="k") == "three"
        assert (await queue.state("three")).state == "done"


async def test_the_key_of_a_cancelled_job_that_is_retried_is_held_again(dev):
    async with running(work, settings=dev) as runtime:
        queue = runtime.queue
        await queue.enqueue(job("one", unique_for=0), delay=60, key="k")
        await queue.cancel("one")
        await queue.pause("default")
        assert await queue.retry("one")
        assert await queue.enqueue(job("two"), key="k") == "one"


async def test_jobs_are_listed_by_state_action_and_queue(dev):
    async with running(work, fails, settings=dev) as runtime:
        queue = runtime.queue
        for name in ("a", "b", "c"):
            await queue.enqueue(job(name))
            await ended(queue, name)
        await queue.enqueue(job("dead", "fails", params={}, retry=Retry(max_tries=2, backoff=0.01)))
        await queue.enqueue(job("failed", "fails", params={}, retry=Retry(max_tries=1)))
        await ended(queue, "dead")
        await ended(queue, "failed")
        await queue.enqueue(job("later", queue="mail"), delay=60)
        await queue.enqueue(job("soon", queue="mail"), delay=50)
        await queue.cancel(await queue.enqueue(job("not", queue="mail"), delay=60))

        async def ids(**more: Any) -> list[str]:
            return [each.job.id for each in await queue.jobs(**more)]

        assert sorted(await ids()) == ["dead", "failed", "later", "soon"]
        assert await ids(states=("queued",)) == ["soon", "later"]
        assert await ids(states=("queued",), most=1) == ["soon"]
        assert await ids(states=("done",)) == ["a", "b", "c"]
        assert await ids(states=("done",), most=2) == ["b", "c"]
        assert await ids(states=("cancelled",)) == ["not"]
        assert sorted(await ids(action="fails")) == ["dead", "failed"]
        assert await ids(queue="mail") == ["soon", "later"]
        assert await ids(states=("done", "cancelled"), queue="mail") == ["not"]


async def test_every_try_is_kept_with_its_times_its_worker_and_its_error(dev):
    async with running(fails, settings=dev) as runtime:
        queue = runtime.queue
        begun = time.time()
        await queue.enqueue(job("one", "fails", params={}, retry=Retry(max_tries=25, backoff=0, factor=1)))
        state = await ended(queue, "one")
        assert (state.state, state.tries, len(state.history)) == ("dead", 25, 20)
        assert [each.number for each in state.history] == list(range(6, 26))
        for each in state.history:
            assert begun - 1 <= each.started_at <= each.ended_at <= time.time() + 1
            assert each.error == {"detail": "Internal Server Error", "code": "internal"}
            assert each.worker


async def test_an_app_that_makes_jobs_only_by_enqueuing_shows_its_queues(dev):
    async with running(work, settings=dev) as runtime:
        queue = runtime.queue
        assert set(runtime.parts_in_use) == {"queue"}
        await queue.enqueue(job("one", queue="mail"))
        await ended(queue, "one")
        await queue.pause("mail")
        await queue.enqueue(job("two", queue="mail"))
        text = (await runtime.metrics.text()).splitlines()
        assert {
            "servey_jobs_queued 1",
            'servey_queue_jobs{queue="mail",state="queued"} 1',
            'servey_queue_jobs{queue="mail",state="running"} 0',
            'servey_queue_paused{queue="mail"} 1',
            'servey_job_wait_seconds_count{action="work",queue="mail"} 1',
            'servey_job_run_seconds_count{action="work",queue="mail"} 1',
            'servey_jobs_total{action="work",queue="mail",outcome="done"} 1',
            'servey_action_jobs{action="work",queue="mail",state="queued"} 1',
            'servey_action_jobs{action="work",queue="mail",state="running"} 0',
            'servey_action_jobs{action="work",queue="mail",state="dead"} 0',
        } <= set(text)
        await queue.drop("two")


async def test_the_jobs_of_each_action_are_counted(dev):
    async with running(work, fails, settings=dev) as runtime:
        queue = runtime.queue

        async def counts():
            return {each.action: (each.queued, each.running, each.dead) for each in await queue.actions()}

        for number in range(3):
            await queue.enqueue(job(f"later-{number}", queue="mail"), delay=60)
        for job_id, tries in (("dead", 2), ("failed", 1)):
            await queue.enqueue(job(job_id, "fails", params={}, retry=Retry(tries, backoff=0)))
            await ended(queue, job_id)
        assert await counts() == {"work": (3, 0, 0), "fails": (0, 0, 2)}
        (waiting,) = [each for each in await queue.actions() if each.queue == "mail"]
        assert waiting.due_at == pytest.approx(time.time() + 60, abs=30)
        await queue.cancel("later-0")
        await queue.drop("later-1")
        await queue.drop("failed")
        assert await counts() == {"work": (1, 0, 0), "fails": (0, 0, 1)}
        await queue.pause("default")
        await queue.retry("dead")
        assert await counts() == {"work": (1, 0, 0), "fails": (1, 0, 0)}
        await queue.cancel("dead")
        await queue.cancel("later-2")
        assert await counts() == {"work": (0, 0, 0), "fails": (0, 0, 0)}
        await queue.resume("default")
