"""Cancelling, pausing, ordering, limiting and listing jobs: the same for the queue in memory and the one in Redis."""

import asyncio
import threading
import time
from typing import Any

import pytest

from servey import (
    WEB_POST,
    Authorization,
    ConfigError,
    Context,
    Limit,
    Retry,
    ServeyError,
    action,
    background_action_channel,
    cancel,
    create_app,
)
from servey.core.queues import Job, JobLimit
from servey.testing import client, token_for
from tests.jobs.conftest import ended, running, until

pytestmark = pytest.mark.anyio

SEEN: list[Any] = []
RELEASE = threading.Event()


@pytest.fixture(autouse=True)
def _nothing_seen():
    SEEN.clear()
    RELEASE.clear()


@action(triggers=WEB_POST, timeout=60, retry=Retry(max_tries=3, backoff=0.01))
async def waits(what: str = "a") -> str:
    SEEN.append(("begin", what))
    try:
        await asyncio.sleep(60)
    finally:
        SEEN.append(("end", what))
    return what


@action(timeout=60)
def waits_in_a_thread(context: Context) -> str:
    SEEN.append("begin")
    while not context.cancelled:
        time.sleep(0.005)
    SEEN.append("told")
    return "stopped early"


@action
async def note(what: str = "a") -> str:
    SEEN.append(what)
    return what


@action
async def fails() -> None:
    raise RuntimeError("secret text")


@action(timeout=60)
async def overlaps(what: str) -> None:
    SEEN.append(("begin", what))
    await asyncio.sleep(0.05)
    SEEN.append(("end", what))


@action(triggers=WEB_POST)
async def cancels(job_id: str) -> bool:
    return await cancel(job_id)


def job(name: str, act: str = "note", **more: Any) -> Job:
    params = more.pop("params", None)
    return Job(name, act, params if params is not None else {"what": name}, trusted=True, **more)


# ------------------------------------------------------------------------------------------------------------- cancel


async def test_a_queued_job_that_is_cancelled_never_starts(dev):
    async with running(note, settings=dev) as runtime:
        queue = runtime.queue
        await queue.pause("default")
        await queue.enqueue(job("due"))
        await queue.enqueue(job("delayed"), delay=0.3)
        assert await queue.cancel("due")
        assert await queue.cancel("delayed")
        assert not await queue.cancel("due")
        assert not await queue.cancel("nothing")
        await queue.resume("default")
        last = await queue.enqueue(job("last"), delay=0.4)
        assert (await ended(queue, last)).state == "done"
        assert [(await queue.state(each)).state for each in ("due", "delayed")] == ["cancelled", "cancelled"]
        assert SEEN == ["last"]
        assert await queue.jobs() == []


async def test_a_running_async_job_is_cancelled_within_a_second_and_not_tried_again(dev):
    async with running(waits, settings=dev) as runtime:
        queue = runtime.queue
        await queue.enqueue(job("one", "waits"))
        await until(lambda: SEEN)
        begun = time.monotonic()
        assert await queue.cancel("one")
        state = await ended(queue, "one")
        assert time.monotonic() - begun < 1
        assert (state.state, state.result, state.tries) == ("cancelled", None, 1)
        assert SEEN == [("begin", "one"), ("end", "one")]
        assert not await queue.cancel("one")


async def test_a_running_def_is_told_and_its_job_is_cancelled_when_it_returns(dev):
    async with running(waits_in_a_thread, settings=dev) as runtime:
        queue = runtime.queue
        await queue.enqueue(job("one", "waits_in_a_thread", params={}))
        await until(lambda: SEEN)
        assert await queue.cancel("one")
        state = await ended(queue, "one")
        assert (state.state, state.result) == ("cancelled", None)
        assert SEEN == ["begin", "told"]


async def test_a_cancelled_job_can_be_retried_and_dropped(dev):
    async with running(note, settings=dev) as runtime:
        queue = runtime.queue
        for name in ("one", "two"):
            await queue.enqueue(job(name), delay=60)
            assert await queue.cancel(name)
        assert await queue.retry("one")
        assert (await ended(queue, "one")).state == "done"
        assert await queue.drop("two")
        assert await queue.state("two") is None


def test_an_enqueuer_cancels_by_delete_and_nobody_else_does(dev):
    made = create_app(actions=[waits], settings=dev.model_copy(update={"jwt_secret_key": "x" * 32}))
    headers, other = ({"Authorization": f"Bearer {token_for(made, Authorization(who))}"} for who in ("ada", "grace"))
    with client(made) as http:
        answer = http.post("/actions/waits", json={}, headers={**headers, "Prefer": "respond-async"})
        path = answer.headers["location"]
        assert http.delete(path, headers=other).status_code == 404
        assert http.delete(path).status_code == 404
        assert http.delete("/jobs/nothing", headers=headers).status_code == 404
        while not SEEN:
            http.get(path, headers=headers)
        assert http.delete(path, headers=headers).json()["state"] in ("running", "cancelled")
        end = time.monotonic() + 30
        while (state := http.get(path, headers=headers).json()["state"]) != "cancelled":
            assert time.monotonic() < end, state
        # A job that has ended stays as it is.
        assert http.delete(path, headers=headers).json()["state"] == "cancelled"


async def test_code_cancels_a_job_by_its_id(dev):
    async with running(waits, cancels, settings=dev) as runtime:
        await runtime.queue.enqueue(job("one", "waits"))
        await until(lambda: SEEN)
        await runtime.queue.enqueue(job("two", "cancels", params={"job_id": "one"}))
        assert (await ended(runtime.queue, "two")).result is True
        assert (await ended(runtime.queue, "one")).state == "cancelled"
        assert not await cancel("one")


# ------------------------------------------------------------------------------------------- queues, order, and limits


async def test_a_paused_queue_waits_until_it_is_resumed_and_others_go_on(dev):
    async with running(note, settings=dev) as runtime:
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
    async with running(note, settings=dev.model_copy(update={"job_concurrency": 1})) as runtime:
        queue = runtime.queue
        await queue.pause("default")
        for name, priority in (("low", -100), ("first", 0), ("second", 0), ("high", 100), ("higher than none", 1)):
            await queue.enqueue(job(name, priority=priority))
            await asyncio.sleep(0.002)  # due times are in milliseconds
        await queue.resume("default")
        await ended(queue, "low")
        assert SEEN == ["high", "higher than none", "first", "second", "low"]


def most_at_once(events: list[tuple[str, str]]) -> int:
    now = most = 0
    for kind, _ in events:
        now += 1 if kind == "begin" else -1
        most = max(most, now)
    return most


async def test_no_more_jobs_of_a_limit_run_at_once_and_others_are_not_held_up(dev):
    limit = JobLimit("overlaps", concurrent=2)
    async with running(overlaps, note, settings=dev) as runtime:
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
    async with running(note, settings=dev) as runtime:
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
        assert SEEN == [("begin", "a1"), ("begin", "g1"), ("begin", "n1")]
        for job_id in reversed(ids):
            await runtime.queue.cancel(job_id)
            await ended(runtime.queue, job_id)


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


# ----------------------------------------------------------------------------------------------------- keys and lists


async def test_an_enqueuer_says_how_long_its_key_is_held(dev):
    async with running(note, settings=dev) as runtime, runtime.context("test", trusted=True) as context:
        first = await context.enqueue(note, {"what": "a"}, key="k", unique_for=0)
        await ended(runtime.queue, first)
        assert await context.enqueue(note, {"what": "a"}, key="k", unique_for=0) != first
        with pytest.raises(ServeyError, match="time for which the key of a job is held is -1"):
            await context.enqueue(note, {"what": "a"}, key="k", unique_for=-1)


async def test_a_key_is_held_while_its_job_waits_and_as_long_after_as_it_says(dev):
    async with running(note, settings=dev.model_copy(update={"job_keep": 1})) as runtime:
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
    async with running(note, settings=dev) as runtime:
        queue = runtime.queue
        await queue.enqueue(job("one", unique_for=0), delay=60, key="k")
        await queue.cancel("one")
        await queue.pause("default")
        assert await queue.retry("one")
        assert await queue.enqueue(job("two"), key="k") == "one"


async def test_jobs_are_listed_by_state_action_and_queue(dev):
    async with running(note, fails, settings=dev) as runtime:
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


# -------------------------------------------------------------------------------------------------- metrics and health


async def test_an_app_that_makes_jobs_only_by_enqueuing_shows_its_queues(dev):
    async with running(note, settings=dev) as runtime:
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
            'servey_job_wait_seconds_count{action="note",queue="mail"} 1',
        } <= set(text)
        await queue.drop("two")
