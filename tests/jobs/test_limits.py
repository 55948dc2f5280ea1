"""Limits of jobs: how many run at once, how many start in a period, and per what."""

import asyncio

import pytest

from servey import Authorization, ConfigError, Limit, action, background_action_channel, create_app
from servey.core.queues import JobLimit
from tests.jobs.actions import SEEN, job, waits, work
from tests.jobs.conftest import ended, running, until

pytestmark = pytest.mark.anyio


@action(timeout=60)
async def overlaps(what: str) -> None:
    SEEN.append(("begin", what))
    await asyncio.sleep(0.05)
    SEEN.append(("end", what))


def most_at_once(events: list[tuple[str, str]]) -> int:
    now = most = 0
    for kind, _ in events:
        now += 1 if kind == "begin" else -1
        most = max(most, now)
    return most


async def test_no_more_jobs_of_a_limit_run_at_once_and_others_are_not_held_up(dev):
    limit = JobLimit("overlaps", concurrent=2)
    async with running(overlaps, work, settings=dev) as runtime:
        queue = runtime.queue
        await queue.pause("default")
        for number in range(9):
            await queue.enqueue(job(f"{number}", "overlaps", limit=limit))
        await queue.enqueue(job("free"))
        await queue.resume("default")
        await ended(queue, "free")
        assert SEEN.count(("end", "8")) == 0
        for number in range(9):
            assert (await ended(queue, f"{number}")).state == "done"
        events = [each for each in SEEN if each != "free"]
        assert most_at_once(events) == 2
        assert [what for kind, what in events if kind == "begin"] == [f"{number}" for number in range(9)]


async def test_each_key_of_a_limit_has_its_own(dev):
    async with running(waits, settings=dev) as runtime:
        queue = runtime.queue
        for name, key in (("a1", "a"), ("a2", "a"), ("b1", "b")):
            await queue.enqueue(job(name, "waits", limit=JobLimit(key, concurrent=1)))
        await until(lambda: len(SEEN) == 2)
        assert SEEN == [("begin", "a1"), ("begin", "b1")]
        assert (await queue.state("a2")).state == "queued"
        assert [each.job.id for each in await queue.jobs(states=("queued",))] == ["a2"]
        assert (await queue.depth()).queued == 1
        await queue.cancel("a1")
        await until(lambda: ("begin", "a2") in SEEN)
        for name in ("a2", "b1"):
            await queue.cancel(name)
            await ended(queue, name)


async def test_no_more_jobs_of_a_limit_start_in_a_period(dev):
    async with running(work, settings=dev) as runtime:
        queue = runtime.queue
        for number in range(7):
            await queue.enqueue(job(f"{number}", limit=JobLimit("rate", starts=3, seconds=0.5)))
        starts = sorted([(await ended(queue, f"{number}")).started_at for number in range(7)])
        assert all(later - earlier >= 0.499 for earlier, later in zip(starts, starts[3:], strict=False))
        assert starts[-1] - starts[0] < 3


async def test_a_cancelled_job_that_waits_for_its_limit_never_starts(dev):
    limit = JobLimit("one", concurrent=1)
    async with running(waits, settings=dev) as runtime:
        queue = runtime.queue
        for name in ("one", "two", "three"):
            await queue.enqueue(job(name, "waits", limit=limit))
        await until(lambda: SEEN)
        assert await queue.cancel("two")
        assert await queue.cancel("one")
        await until(lambda: ("begin", "three") in SEEN)
        await queue.cancel("three")
        await ended(queue, "three")
        assert [what for kind, what in SEEN if kind == "begin"] == ["one", "three"]


async def test_jobs_that_wait_for_a_limit_go_on_when_the_next_one_is_cancelled(dev):
    limit = JobLimit("one", concurrent=1)
    async with running(waits, settings=dev) as runtime:
        queue = runtime.queue
        for name in ("one", "two", "three"):
            await queue.enqueue(job(name, "waits", limit=limit))
        await until(lambda: SEEN)
        await queue.pause("default")
        await queue.cancel("one")
        await ended(queue, "one")
        # Now the second one may run, but for the pause.
        assert await queue.cancel("two")
        await queue.resume("default")
        await until(lambda: ("begin", "three") in SEEN)
        await queue.cancel("three")
        await ended(queue, "three")


@action(timeout=60, queue="billing", priority=5, limit=Limit(concurrent=1, per="tenant"))
async def bills(tenant: str) -> None:
    await waits(tenant)


@action(timeout=60, limit=Limit(concurrent=1, per="caller"))
async def once_a_caller(what: str) -> None:
    await waits(what)


billed = background_action_channel(bills)


async def test_the_jobs_of_an_action_have_its_queue_its_priority_and_its_limit(dev):
    async with running(bills, settings=dev, channels=[billed]) as runtime:
        async with runtime.context("test", trusted=True) as context:
            ids = [await context.enqueue(bills, {"tenant": tenant}) for tenant in ("a", "a", "b")]
        await billed.publish("a")
        await until(lambda: len(SEEN) == 2)
        assert SEEN == [("begin", "a"), ("begin", "b")]
        queue = runtime.queue
        [waiting] = [each for each in await queue.queues() if each.name == "billing"]
        assert (waiting.queued, waiting.running) == (2, 2)
        first = (await queue.state(ids[0])).job
        assert (first.queue, first.priority, first.limit.concurrent) == ("billing", 5, 1)
        for _ in range(4):
            for each in await queue.jobs():
                await queue.cancel(each.job.id)
                await ended(queue, each.job.id)


async def test_a_limit_per_caller_counts_each_caller_apart(dev):
    async with running(once_a_caller, settings=dev) as runtime:
        ids = []
        for who, what in (("ada", "a1"), ("ada", "a2"), ("grace", "g1"), (None, "n1"), (None, "n2")):
            caller = None if who is None else Authorization(who)
            async with runtime.context("test", authorization=caller) as context:
                ids.append(await context.enqueue(once_a_caller, {"what": what}))
        await until(lambda: len(SEEN) == 3)
        # One of each caller; jobs of the same millisecond start in any order.
        assert sorted(what[0] for _, what in SEEN) == ["a", "g", "n"]
        for job_id in reversed(ids):
            await runtime.queue.cancel(job_id)
            await ended(runtime.queue, job_id)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"concurrent": 0},
        {"concurrent": True},
        {"rate": "5"},
        {"rate": "0/minute"},
        {"rate": 5},
        {"rate": "1/minute", "per": ""},
    ],
)
def test_values_that_are_no_limit_are_refused(values):
    with pytest.raises(ConfigError, match=r"^Limit\("):
        Limit(**values)


def test_a_limit_names_a_parameter_of_its_action():
    @action(limit=Limit(concurrent=1, per="tenant_id"))
    def wrong(tenant: str) -> None: ...

    @action(limit=Limit(concurrent=1, per="caller"))
    def ambiguous(caller: str) -> None: ...

    with pytest.raises(ConfigError) as raised:
        create_app(actions=[wrong, ambiguous])
    first, second = raised.value.problems
    assert "per='tenant_id', which is no parameter; use one of 'tenant', 'caller'" in first
    assert "parameter 'caller'" in second
