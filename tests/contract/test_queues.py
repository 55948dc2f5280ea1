"""One table of jobs that every queue must treat alike: in memory, in Redis, and in SQS."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from servey import Authorization, Context, Retry, ScopeAccessControl, ServeyError, Settings, action, create_app
from servey.aws import clients
from servey.aws.records import run_records
from servey.core.queues import Job, Limit
from servey.jobs.perform import perform_job
from tests.aws.conftest import SETTINGS
from tests.aws.fakes import FakeAws, record
from tests.jobs.conftest import NAMESPACE, client, ended, until

pytestmark = pytest.mark.anyio
QUEUES = ("memory", "Redis", "SQS")
SEEN: list[str] = []


@action
async def double(n: int) -> int:
    SEEN.append(f"double {n}")
    return n * 2


@action
async def fails(times: int) -> int:
    SEEN.append("fails")
    if len(SEEN) <= times:
        raise RuntimeError("secret text")
    return len(SEEN)


@action(access_control=ScopeAccessControl("root"))
async def only_root() -> str:
    return "in"


@action(timeout=60)
async def waits(context: Context) -> None:
    context.progress(1, 3)
    SEEN.append("begin")
    await asyncio.sleep(60)


def job(act: str, params: dict[str, Any], *, tries: int = 3, **more: Any) -> Job:
    trusted = more.get("authorization") is None
    return Job("one", act, params, trusted=trusted, retry=Retry(tries, backoff=0.01, factor=1), **more)


CASES: dict[str, tuple[Job, str, Any, int, str | None]] = {
    # what: (job, its state in the end, result, tries, code of its error)
    "a job that succeeds": (job("double", {"n": 2}), "done", 4, 1, None),
    "a job that succeeds at its second try": (job("fails", {"times": 1}), "done", 2, 2, None),
    "a job that fails at every try": (job("fails", {"times": 9}), "dead", None, 3, "internal"),
    "a job that fails at its only try": (job("fails", {"times": 9}, tries=1), "failed", None, 1, "internal"),
    "parameters that are not valid": (job("double", {"n": "x"}), "dead", None, 1, "invalid_params"),
    "an enqueuer without access": (
        job("only_root", {}, authorization=Authorization("ada")), "dead", None, 1, "forbidden",
    ),
    "an enqueuer with access": (
        job("only_root", {}, authorization=Authorization("ada", frozenset({"root"}))), "done", "in", 1, None,
    ),
    "an action that is not there": (job("nothing", {}), "dead", None, 3, "not_found"),
}  # fmt: skip


@pytest.fixture(params=QUEUES)
async def app(request, monkeypatch) -> AsyncIterator[Any]:
    """An app that runs, with a queue of this kind that is worked on."""
    SEEN.clear()
    settings = Settings(env="dev", job_grace=2, namespace=NAMESPACE)
    aws = FakeAws()
    monkeypatch.setattr(clients, "_boto3_client", aws.client)
    if request.param == "Redis":
        server = request.getfixturevalue("redis")
        with client(server.url) as cleared:
            cleared.flushdb()
        settings = settings.model_copy(update={"redis_url": server.url})
    elif request.param == "SQS":
        settings = settings.model_copy(update=SETTINGS)
    made = create_app(actions=[double, fails, only_root, waits], settings=settings)
    async with made.router.lifespan_context(made):
        if request.param != "SQS":
            yield made
            return
        async with _lambda(made, aws):
            yield made


@asynccontextmanager
async def _lambda(made: Any, aws: FakeAws) -> AsyncIterator[None]:
    """Deliver the messages of the queue to a function, and those that it fails once more."""

    async def deliver(number: int, body: str) -> None:
        tries, again = 0, True
        while again:
            tries += 1
            found = await run_records(made.runtime, perform_job, [record(body, str(number), tries)], 60)
            again = bool(found["batchItemFailures"])

    async def poll() -> None:
        delivered = 0
        async with asyncio.TaskGroup() as running:
            while True:
                for number, message in enumerate(aws.sqs.sent[delivered:], delivered):
                    if message["queue"] == SETTINGS["queue_url"] and not message["delay"]:
                        running.create_task(deliver(number, message["body"]))
                delivered = len(aws.sqs.sent)
                await asyncio.sleep(0.005)

    polling = asyncio.create_task(poll())
    try:
        yield
    finally:
        polling.cancel()
        with suppress(asyncio.CancelledError):
            await polling


@pytest.mark.parametrize("what", CASES)
async def test_a_job_ends_alike(app, what):
    made, state, result, tries, code = CASES[what]
    queue = app.runtime.queue
    assert await queue.enqueue(made) == "one"
    found = await ended(queue, "one")
    assert (found.state, found.result, found.tries, (found.error or {}).get("code")) == (state, result, tries, code)
    assert "secret" not in str(found.as_json())


async def test_a_job_is_made_once_for_its_key(app):
    queue = app.runtime.queue
    assert await queue.enqueue(job("double", {"n": 1}), key="k") == "one"
    assert await queue.enqueue(Job("two", "double", {"n": 1}, trusted=True), key="k") == "one"
    await ended(queue, "one")
    assert SEEN == ["double 1"]
    assert await queue.state("two") is None


async def test_a_queued_job_that_is_cancelled_never_starts(app):
    queue = app.runtime.queue
    await queue.enqueue(job("double", {"n": 1}), delay=60)
    assert await queue.cancel("one")
    assert (await queue.state("one")).state == "cancelled"
    assert not await queue.cancel("one")
    assert not await queue.cancel("nothing")
    assert SEEN == []


async def test_a_running_job_shows_its_progress_and_is_cancelled(app):
    queue = app.runtime.queue
    await queue.enqueue(job("waits", {}))
    await until(lambda: SEEN)
    async with asyncio.timeout(20):
        while (found := await queue.state("one")).progress is None:
            await asyncio.sleep(0.01)
    assert (found.state, found.progress) == ("running", {"done": 1, "total": 3})
    assert await queue.cancel("one")
    assert (await ended(queue, "one")).state == "cancelled"


async def test_operators_act_alike_or_hear_why_they_cannot(app):
    queue = app.runtime.queue
    await queue.enqueue(job("fails", {"times": 9}, tries=1))
    await ended(queue, "one")
    if app.runtime.settings.queue_url is not None:
        asks = (queue.jobs, queue.queues, queue.actions, queue.depth, queue.events, lambda: queue.retry("one"),
                lambda: queue.drop("one"), lambda: queue.pause("default"))  # fmt: skip
        for ask in asks:
            with pytest.raises(ServeyError, match="SQS cannot .*AWS console"):
                await ask()
        return
    (found,) = await queue.actions()
    assert (found.queue, found.action, found.queued, found.running, found.dead) == ("default", "fails", 0, 0, 1)
    assert [each.job.id for each in await queue.jobs(states=("failed",))] == ["one"]
    assert (await queue.depth()).dead == 1
    await queue.pause("default")
    assert await queue.retry("one")
    assert [(each.paused, each.queued) for each in await queue.queues()] == [(True, 1)]
    assert await queue.drop("one")
    assert await queue.state("one") is None
    await queue.resume("default")


def test_the_list_of_actions_says_what_sqs_cannot(monkeypatch):
    monkeypatch.setattr(clients, "_boto3_client", FakeAws().client)
    act = action(queue="mail", priority=5, limit=Limit(concurrent=1))(double)
    made = create_app(actions=[act], settings=Settings(env="dev").model_copy(update=SETTINGS))
    (row,) = made.exposures()
    for name in ("queue", "priority", "limit"):
        assert f"not with its {name}: SQS has none" in row.absences
