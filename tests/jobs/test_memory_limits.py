"""The limits of the queue in memory."""

import asyncio

import pytest

from servey import WEB_POST, Retry, action, create_app
from servey.core.errors import Overloaded
from servey.core.queues import Job
from servey.testing import client
from tests.jobs.actions import IN_MEMORY, fails
from tests.jobs.conftest import ended, enqueued, running

pytestmark = pytest.mark.anyio


@action(triggers=WEB_POST)
async def keeps(text: str) -> str:
    await asyncio.sleep(0)
    return text


async def until_full(runtime, params) -> int:
    count = 0
    while count < 100:
        try:
            await enqueued(runtime, keeps, params, delay=60)
        except Overloaded:
            return count
        count += 1
    return count


@IN_MEMORY
async def test_no_more_jobs_wait_than_the_settings_allow(dev):
    settings = dev.model_copy(update={"job_max_entries": 5})
    async with running(keeps, settings=settings) as runtime:
        assert await until_full(runtime, {"text": "a"}) == 5
        first = (await runtime.queue.jobs())[0].job.id
        assert await runtime.queue.drop(first)
        assert await until_full(runtime, {"text": "a"}) == 1


@IN_MEMORY
async def test_no_more_bytes_wait_than_the_settings_allow_and_results_make_room(dev):
    settings = dev.model_copy(update={"job_max_bytes": 500_000})
    async with running(keeps, fails, settings=settings) as runtime:
        dead = await runtime.queue.enqueue(Job("dead", "keeps", {}, trusted=True, retry=Retry(max_tries=1)))
        assert (await ended(runtime.queue, dead)).state == "failed"
        large = {"text": "x" * 100_000}
        ids = []
        for _ in range(20):
            ids.append(await enqueued(runtime, keeps, large))
            assert (await ended(runtime.queue, ids[-1])).state == "done"
        kept = [each for each in ids if await runtime.queue.state(each) is not None]
        assert kept == ids[-len(kept) :]
        assert 1 <= len(kept) <= 4
        assert await runtime.queue.state(dead) is not None
        assert await until_full(runtime, large) == 4
        assert await runtime.queue.state(dead) is None


@IN_MEMORY
def test_a_full_queue_is_answered_by_503(dev):
    settings = dev.model_copy(update={"job_max_bytes": 50_000})
    with client(create_app(actions=[keeps], settings=settings)) as http:
        answer = http.post("/actions/keeps", json={"text": "x" * 100_000}, headers={"Prefer": "respond-async"})
        assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
