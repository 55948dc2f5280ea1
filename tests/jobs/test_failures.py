"""Jobs that fail: which are tried again, and which are kept as dead jobs."""

import asyncio
import sys
from typing import Annotated

import pytest
from fastapi import HTTPException
from pydantic import AfterValidator

from servey import ActionError, Retry, action
from servey.core.queues import Job
from servey.jobs import memory as memory_module
from tests.jobs.actions import IN_MEMORY, QUICK, SEEN, fails, note, refuses
from tests.jobs.conftest import ended, enqueued, running

pytestmark = pytest.mark.anyio


@action(retry=QUICK)
async def refuses_as_fastapi() -> None:
    raise HTTPException(404, "no such thing")


def _checked(what: str) -> str:
    if SEEN:
        raise ValueError("not any more")
    return what


@action(retry=QUICK)
async def picky(what: Annotated[str, AfterValidator(_checked)]) -> str:
    return what


@action(retry=QUICK)
async def exits() -> None:
    await asyncio.sleep(0)
    sys.exit(2)


@action(retry=QUICK)
def exits_in_a_thread() -> None:
    sys.exit("no config")


@action(retry=QUICK)
async def interrupts() -> None:
    raise KeyboardInterrupt


@action(retry=QUICK)
async def cancels_itself() -> None:
    raise asyncio.CancelledError


@action(retry=QUICK)
async def half_a_surrogate() -> str:
    return "Holiday \ud83d"


@action(retry=QUICK)
async def refuses_half_a_surrogate() -> str:
    raise ActionError(400, "bad", "no such file: caf\udce9.txt")


@action(retry=QUICK)
async def not_utf8() -> bytes:
    return b"\xff"


@action(retry=QUICK, timeout=0.05)
async def too_slow() -> None:
    SEEN.append(1)
    await asyncio.sleep(30)


async def test_what_fails_is_tried_again(dev):
    async with running(fails, settings=dev) as runtime:
        state = await ended(runtime.queue, await enqueued(runtime, fails, {"times": 2}))
        assert (state.state, state.result, state.tries) == ("done", 3, 3)


async def test_what_goes_on_failing_is_kept_dead_without_its_inner_text(caplog, dev):
    async with running(fails, settings=dev) as runtime:
        job_id = await enqueued(runtime, fails, {"times": 99})
        state = await ended(runtime.queue, job_id)
        assert (state.state, state.tries) == ("dead", 3)
        assert state.error == {"detail": "Internal Server Error", "code": "internal"}
        assert [each.job.id for each in await runtime.queue.jobs()] == [job_id]
        assert "secret text" in caplog.text

        SEEN[:] = range(99)
        assert await runtime.queue.retry(job_id)
        assert (await ended(runtime.queue, job_id)).state == "done"
        assert not await runtime.queue.retry(job_id)


async def test_a_dead_job_can_be_dropped(dev):
    async with running(fails, settings=dev) as runtime:
        job_id = await enqueued(runtime, fails, {"times": 99})
        await ended(runtime.queue, job_id)
        assert await runtime.queue.drop(job_id)
        assert await runtime.queue.state(job_id) is None
        assert not await runtime.queue.drop(job_id)


@IN_MEMORY
async def test_no_more_dead_jobs_are_kept_than_a_queue_may_hold(monkeypatch, dev):
    monkeypatch.setattr(memory_module, "MOST_DEAD", 2)
    async with running(refuses, settings=dev) as made:
        ids = []
        for _ in range(3):
            ids.append(await enqueued(made, refuses))
            await ended(made.queue, ids[-1])
        assert [each.job.id for each in await made.queue.jobs()] == ids[1:]
        # One that died again has died last, and counts once.
        assert await made.queue.retry(ids[1])
        await ended(made.queue, ids[1])
        assert {each.job.id for each in await made.queue.jobs()} == set(ids[1:])
        last = await enqueued(made, refuses)
        await ended(made.queue, last)
        assert {each.job.id for each in await made.queue.jobs()} == {ids[1], last}


@pytest.mark.parametrize("act", [refuses, refuses_as_fastapi])
async def test_an_error_that_the_action_raises_is_retried_whatever_its_status(act, dev):
    async with running(act, settings=dev) as runtime:
        state = await ended(runtime.queue, await enqueued(runtime, act))
        assert (state.state, state.tries, state.error["detail"]) == ("dead", 3, "no such thing")


async def test_what_access_control_or_validation_refuses_is_not_tried_again(dev, caplog):
    async with running(picky, settings=dev) as runtime:
        SEEN.append("refuse")  # from here on
        job = Job("one", "picky", {"what": "hunter2"}, trusted=True, retry=QUICK)
        state = await ended(runtime.queue, await runtime.queue.enqueue(job))
        assert (state.state, state.tries, state.error["code"]) == ("dead", 1, "invalid_params")
    # Whoever reads the log, watches events or lists dead jobs may not see what callers send.
    assert "not any more" in str(state.error) and "not any more" in caplog.text
    assert "hunter2" not in str((state.error, state.history, caplog.text))


async def test_an_action_that_is_not_there_is_retried(dev):
    async with running(note, settings=dev) as runtime:
        state = await ended(
            runtime.queue, await runtime.queue.enqueue(Job("one", "gone", {}, trusted=True, retry=QUICK))
        )
        assert (state.state, state.tries, state.error["code"]) == ("dead", 3, "not_found")


@pytest.mark.parametrize("act", [exits, exits_in_a_thread, interrupts, cancels_itself])
async def test_what_ends_a_process_or_a_task_elsewhere_fails_its_job_only(act, dev):
    async with running(act, note, settings=dev) as runtime:
        state = await ended(runtime.queue, await enqueued(runtime, act))
        assert (state.state, state.tries, state.error["code"]) == ("dead", 3, "internal")
        assert (await ended(runtime.queue, await enqueued(runtime, note, {"what": "a"}))).state == "done"


@pytest.mark.parametrize("act", [half_a_surrogate, refuses_half_a_surrogate, not_utf8])
async def test_a_result_that_json_can_not_hold_fails_its_job_only(act, caplog, dev):
    async with running(act, note, settings=dev) as runtime:
        state = await ended(runtime.queue, await enqueued(runtime, act))
        assert state.state == "dead"
        assert (await ended(runtime.queue, await enqueued(runtime, note, {"what": "a"}))).state == "done"
        assert not runtime.failed_tasks
    assert caplog.text.encode()  # a log in a file can hold the message


async def test_over_its_time_counts_as_a_failure(dev):
    async with running(too_slow, settings=dev) as runtime:
        state = await ended(runtime.queue, await enqueued(runtime, too_slow))
        assert (state.state, state.tries, state.error["code"]) == ("dead", 3, "timeout")


async def test_a_job_whose_only_try_failed_is_among_the_dead_letters(dev):
    async with running(fails, settings=dev) as runtime:
        job = Job("one", "fails", {"times": 1}, trusted=True, retry=Retry(max_tries=1))
        job_id = await runtime.queue.enqueue(job)
        assert (await ended(runtime.queue, job_id)).state == "failed"
        assert [(each.job.id, each.state) for each in await runtime.queue.jobs()] == [(job_id, "failed")]
        assert (await runtime.queue.depth()).dead == 1
        assert await runtime.queue.retry(job_id)
        assert (await ended(runtime.queue, job_id)).state == "done"
        assert (await runtime.queue.depth()).dead == 0
        job_id = await runtime.queue.enqueue(Job("two", "fails", {"times": 9}, trusted=True, retry=Retry(max_tries=1)))
        await ended(runtime.queue, job_id)
        assert await runtime.queue.drop(job_id)
        assert await runtime.queue.jobs() == []
