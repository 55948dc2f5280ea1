"""Cancelling jobs: the same for the queue in memory and the one in Redis."""

import time

import pytest

from servey import WEB_POST, Authorization, Context, action, cancel, create_app
from servey.testing import client, token_for
from tests.jobs.actions import SEEN, job, waits, work
from tests.jobs.conftest import ended, running, until

pytestmark = pytest.mark.anyio


@action(timeout=60)
def waits_in_a_thread(context: Context) -> str:
    SEEN.append("begin")
    while not context.cancelled:
        time.sleep(0.005)
    SEEN.append("told")
    return "stopped early"


@action(triggers=WEB_POST)
async def cancels(job_id: str) -> bool:
    return await cancel(job_id)


async def test_a_queued_job_that_is_cancelled_never_starts(dev):
    async with running(work, settings=dev) as runtime:
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
    async with running(work, settings=dev) as runtime:
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
