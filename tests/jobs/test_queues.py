"""What a queue promises of each job, in this process's memory and in Redis, on a running app."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from servey import WEB_POST, Authorization, Context, Parts, ServeyError, action
from servey.core.errors import InvalidParams, Unauthenticated
from tests.jobs.actions import IN_MEMORY, SEEN, note, only_root, refuses
from tests.jobs.conftest import ended, enqueued, running
from tests.jobs.test_background_channels import channel, resize

pytestmark = pytest.mark.anyio


@action(triggers=WEB_POST)
def note_def(what: str) -> None:
    SEEN.append(what)


@action(triggers=WEB_POST)
async def counts(upto: int, context: Context) -> int:
    for number in range(upto):
        context.progress(number, upto)
        await asyncio.sleep(0.01)
    context.progress(upto, upto)
    return upto


async def test_a_job_is_done_and_its_result_kept(dev):
    async with running(note, settings=dev) as runtime:
        state = await ended(runtime.queue, await enqueued(runtime, note, {"what": "a"}, caller=Authorization("ada")))
        assert (state.state, state.result, state.tries) == ("done", "A", 1)
        assert SEEN == [("a", "job", "ada")]


async def test_an_action_is_named_too(dev):
    async with running(note, settings=dev) as runtime:
        assert (await ended(runtime.queue, await enqueued(runtime, "note", {"what": "a"}))).result == "A"
        with pytest.raises(ServeyError, match="'nothing' is not an action of this app"):
            await enqueued(runtime, "nothing")


async def test_a_mistake_fails_where_it_is_made(dev):
    async with running(note, only_root, settings=dev) as runtime:
        with pytest.raises(InvalidParams):
            await enqueued(runtime, note, {"what": 5})
        with pytest.raises(Unauthenticated):
            await enqueued(runtime, only_root)
        assert await runtime.queue.jobs() == []


async def test_a_delay_is_kept(dev):
    async with running(note, settings=dev) as runtime:
        begun = time.monotonic()
        job_id = await enqueued(runtime, note, {"what": "a"}, delay=0.2)
        await enqueued(runtime, note, {"what": "b"})
        await ended(runtime.queue, job_id)
        assert time.monotonic() - begun >= 0.2
        assert [what for what, *_ in SEEN] == ["b", "a"]


async def test_a_key_makes_it_once(dev):
    async with running(note, note_def, settings=dev) as runtime:
        first = await enqueued(runtime, note, {"what": "a"}, key="k")
        assert await enqueued(runtime, note, {"what": "b"}, key="k") == first
        assert await enqueued(runtime, note, {"what": "c"}, key="l") != first
        assert await enqueued(runtime, note_def, {"what": "d"}, key="k") != first
        await ended(runtime.queue, first)
        assert await enqueued(runtime, note, {"what": "e"}, key="k") == first


async def test_the_key_of_a_dropped_job_is_free_again(dev):
    async with running(refuses, settings=dev) as runtime:
        first = await enqueued(runtime, refuses, key="once")
        await ended(runtime.queue, first)
        assert await enqueued(runtime, refuses, key="once") == first
        assert await runtime.queue.drop(first)
        second = await enqueued(runtime, refuses, key="once")
        assert second != first
        assert (await ended(runtime.queue, second)).state == "dead"


async def test_an_enqueuer_is_checked_again_when_the_job_runs(dev):
    soon = Authorization("ada", frozenset({"root"}), expire_at=datetime.now(UTC) + timedelta(seconds=1.5))
    async with running(only_root, settings=dev) as runtime:
        assert (await ended(runtime.queue, await enqueued(runtime, only_root, caller=soon))).state == "done"
        # The identity that was verified when the job was enqueued is kept, although the token has expired.
        state = await ended(runtime.queue, await enqueued(runtime, only_root, caller=soon, delay=1.6))
        assert (state.state, state.result) == ("done", "in")


async def test_an_authorizer_says_whether_the_enqueuer_may_still_call(dev):
    gone: set[str] = set()

    class Authorizer:
        async def authorize(self, token: str) -> Authorization:
            return Authorization(token)

        async def is_active(self, authorization: Authorization) -> bool:
            return authorization.subject_id not in gone

    parts = Parts(authorizer=lambda settings: Authorizer())
    async with running(note, resize, channels=[channel], settings=dev, parts=parts) as runtime:
        assert (
            await ended(runtime.queue, await enqueued(runtime, note, {"what": "a"}, caller=Authorization("ada")))
        ).result
        gone.add("ada")
        state = await ended(runtime.queue, await enqueued(runtime, note, {"what": "a"}, caller=Authorization("ada")))
        assert (state.state, state.tries, state.error["code"]) == ("dead", 1, "unauthenticated")


async def test_the_app_itself_needs_no_token(dev):
    async with running(only_root, settings=dev) as runtime:
        assert (await ended(runtime.queue, await enqueued(runtime, only_root, trusted=True))).result == "in"


async def test_progress_is_told(dev):
    async with running(counts, settings=dev) as runtime:
        job_id = await enqueued(runtime, counts, {"upto": 20})
        told = []
        async with asyncio.timeout(5):
            while (state := await runtime.queue.state(job_id)).state != "done":
                told.append(state.progress)
                await asyncio.sleep(0.005)
        assert any(each is not None and 0 < each["done"] < 20 for each in told)
        assert state.progress == {"done": 20, "total": 20}


@IN_MEMORY
async def test_jobs_that_are_due_are_finished_at_the_end(caplog, dev):
    async with running(note, settings=dev) as runtime:
        await enqueued(runtime, note, {"what": "now"})
        await enqueued(runtime, note, {"what": "later"}, delay=60)
    assert [what for what, *_ in SEEN] == ["now"]
    assert "jobs that are lost with this process: 1; with SERVEY_REDIS_URL they would be kept" in caplog.text
