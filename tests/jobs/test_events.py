"""Events of jobs, for whoever watches them."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import pytest

from servey import Context, Settings, action
from servey.core.queues import Job, Retry
from tests.jobs.conftest import NAMESPACE, PREFIX, client, ended, running
from tests.jobs.redis.project import enqueue
from tests.serving import environment, wait_until

pytestmark = pytest.mark.anyio


@action
async def work(seconds: float, context: Context) -> str:
    context.progress(1, 2)
    await asyncio.sleep(seconds)
    return "secret result"


@action(queue="mail")
async def fails() -> None:
    raise RuntimeError("no")


def job(job_id, act="work", **more):
    return Job(job_id, act, more.pop("params", {"seconds": 0}), trusted=True, **more)


@asynccontextmanager
async def watched(runtime):
    """The events of an app's jobs as they come, in a list."""
    found = []

    async def listen():
        async for each in runtime.queue.events():
            found.append(each)

    listening = asyncio.create_task(listen())
    async with asyncio.timeout(20):
        number = 0
        while not found:  # until somebody listens
            number += 1
            await runtime.queue.enqueue(job(f"probe-{number}"))
            await ended(runtime.queue, f"probe-{number}")
            await asyncio.sleep(0.01)
        while found[-1].event != "job.succeeded" or found[-1].id != f"probe-{number}":
            await asyncio.sleep(0.01)
    found.clear()
    yield found
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def names(found, job_id, last):
    async with asyncio.timeout(20):
        while not any(each.id == job_id and each.event == last for each in found):
            await asyncio.sleep(0.01)
    return [each.event.removeprefix("job.") for each in found if each.id == job_id]


async def test_whoever_watches_sees_every_step_of_a_job_but_no_data(dev):
    async with running(work, fails, settings=dev) as runtime, watched(runtime) as found:
        queue, begun = runtime.queue, time.time()
        await queue.enqueue(job("good"))
        assert await names(found, "good", "job.succeeded") == ["queued", "started", "progressed", "succeeded"]
        started, progressed = found[1], found[2]
        assert (started.action, started.queue, started.tries) == ("work", "default", 1)
        assert started.worker and abs(started.at - begun) < 30
        assert progressed.progress == {"done": 1, "total": 2}
        assert "secret" not in str(found)

        await queue.enqueue(job("bad", "fails", params={}, queue="mail", retry=Retry(2, backoff=0)))
        assert await names(found, "bad", "job.dead") == ["queued", "started", "retried", "started", "dead"]
        retried, dead = [each for each in found if each.id == "bad"][2::2]
        assert (retried.tries, dead.tries, dead.queue) == (1, 2, "mail")
        assert retried.error == dead.error == {"detail": "Internal Server Error", "code": "internal"}
        assert retried.due_at is not None

        await queue.enqueue(job("once", "fails", params={}, retry=Retry(1)))
        assert await names(found, "once", "job.failed") == ["queued", "started", "failed"]

        await queue.enqueue(job("waiting"), delay=60)
        assert await queue.cancel("waiting")
        assert await names(found, "waiting", "job.cancelled") == ["queued", "cancelled"]
        await queue.enqueue(job("long", params={"seconds": 60}))
        await names(found, "long", "job.progressed")
        assert await queue.cancel("long")
        assert (await names(found, "long", "job.cancelled"))[-1] == "cancelled"
        assert await queue.retry("bad")
        again = await names(found, "bad", "job.dead")
        async with asyncio.timeout(20):
            while len(again) < 10:
                await asyncio.sleep(0.01)
                again = await names(found, "bad", "job.dead")
        assert again[5:] == ["queued", "started", "retried", "started", "dead"]
        assert len({each.event for each in found}) == 8
        for job_id in ("bad", "once"):
            await queue.drop(job_id)


async def test_nothing_is_published_while_nobody_watches(redis):
    with client(redis.url) as direct:
        direct.flushdb()
        settings = Settings(env="dev", job_grace=2, namespace=NAMESPACE, redis_url=redis.url)
        async with running(work, settings=settings) as runtime:
            direct.config_resetstat()
            await runtime.queue.enqueue(job("one"))
            await ended(runtime.queue, "one")
            assert "cmdstat_publish" not in direct.info("commandstats")
            async with watched(runtime):
                assert 0 < direct.pttl(f"{PREFIX}watched") <= 30_000
                assert direct.info("commandstats")["cmdstat_publish"]["calls"] >= 1


async def test_what_a_later_version_adds_to_events_is_left_out(redis):
    settings = Settings(env="dev", job_grace=2, namespace=NAMESPACE, redis_url=redis.url)
    async with running(work, settings=settings) as runtime, watched(runtime) as found:
        event = {"event": "job.queued", "id": "one", "action": "work", "queue": "default", "at": 1500, "region": "eu"}
        with client(redis.url) as direct:
            direct.publish(f"{PREFIX}jobs", json.dumps(event))
        assert await names(found, "one", "job.queued") == ["queued"]
        assert found[-1].at == 1.5


@contextmanager
def watching(redis):
    """`servey jobs watch` of the queue ``mail``, once it listens."""
    command = [sys.executable, "-m", "servey", "jobs", "watch", "--json", "--queue", "mail"]
    env = environment(SERVEY_REDIS_URL=redis.url, SERVEY_NAMESPACE=NAMESPACE)
    pipes: dict[str, int] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # A shell starts background processes, such as these tests may be, with a SIGINT that does nothing.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, env=env, encoding="utf-8", preexec_fn=heard, **pipes) as process:
        try:
            with client(redis.url) as direct:
                wait_until(lambda: direct.pubsub_numsub(f"{PREFIX}jobs")[0][1] == 1, "the watcher")
                wait_until(lambda: direct.exists(f"{PREFIX}watched"), "the key")
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(40)
            finally:
                process.kill()


def test_an_operator_watches_on_the_command_line(redis_of_jobs):
    with watching(redis_of_jobs) as process:
        enqueue(redis_of_jobs.url, "quick", {"n": 1})
        job_id = enqueue(redis_of_jobs.url, "quick", {"n": 1}, queue="mail")
        event = json.loads(process.stdout.readline())
    assert (event["event"], event["id"], event["queue"], event["action"]) == ("job.queued", job_id, "mail", "quick")
    assert process.returncode == 0


def test_a_watcher_whose_reader_has_ended_does_not_blame_redis(redis_of_jobs):
    with watching(redis_of_jobs) as process:
        process.stdout.close()  # as `head` does
        enqueue(redis_of_jobs.url, "quick", {"n": 1}, queue="mail")
        process.wait(40)
        assert process.stderr.read() == ""
