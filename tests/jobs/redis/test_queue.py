"""The queue in Redis, in this process: what it cannot read, a Redis that does not answer, keys of several apps."""

import asyncio
import json
import time
from contextlib import asynccontextmanager

import pytest
import redis as redis_module
from fastapi import FastAPI
from fastapi.testclient import TestClient

from servey import WEB_POST, Context, Retry, Servey, Settings, action, create_app
from servey.core.errors import Overloaded
from servey.core.queues import Job
from servey.jobs.redis.leases import LeaseKeeper
from servey.jobs.redis.queue import RedisQueue
from servey.jobs.redis.slots import RedisSlots
from servey.testing import client
from tests.serving import free_port, redis_server

pytestmark = pytest.mark.anyio
RAN: list[int] = []


@action(triggers=WEB_POST)
async def work(n: int) -> int:
    RAN.append(n)
    return n


@action(triggers=WEB_POST)
async def start(n: int, context: Context) -> str:
    return await context.enqueue(work, {"n": n})


def settings_for(url: str, **more) -> Settings:
    return Settings(**{"env": "dev", "redis_url": url, "namespace": "of-tests", "job_grace": 2, **more})


@asynccontextmanager
async def running(settings: Settings, *actions):
    made = create_app(actions=actions or [work], settings=settings)
    async with made.router.lifespan_context(made):
        yield made.runtime


async def ended(queue, job_id: str, within: float = 20):
    async with asyncio.timeout(within):
        while (state := await queue.state(job_id)) is None or state.state in ("queued", "running"):
            await asyncio.sleep(0.01)
    return state


@pytest.fixture
def server(redis):
    with redis_module.Redis.from_url(redis.url) as cleared:
        cleared.flushdb()
        yield cleared


FIELDS = {"state": "queued", "tries": 0, "starts": 0, "fence": 0, "due_at": 0}
GOOD = {"id": "odd", "action": "work", "params": None, "trusted": True}
ODD = {
    "not JSON": {**FIELDS, "job": "hello"},
    "missing fields": {**FIELDS, "job": json.dumps({"id": "odd", "password": "hunter2"})},
    "no try": {**FIELDS, "job": json.dumps({**GOOD, "retry": {"max_tries": 0}})},
    "another id": {**FIELDS, "job": json.dumps({**GOOD, "id": "another"})},
    "parameters that are not JSON": {**FIELDS, "job": json.dumps(GOOD), "params": "{"},
    "a fence that is no number": {**FIELDS, "job": json.dumps(GOOD), "fence": "x"},
    "starts that are no number": {**FIELDS, "job": json.dumps(GOOD), "starts": "x"},
    "not Unicode": {**FIELDS, "job": b"\xff\xfe"},
}


@pytest.mark.parametrize("fields", ODD.values(), ids=ODD)
async def test_a_job_that_can_not_be_read_ends_among_the_dead_and_the_worker_goes_on(server, redis, fields, caplog):
    RAN.clear()
    server.hset("{of-tests}:job:odd", mapping=fields)
    server.zadd("{of-tests}:jobs:default", {"odd": 0})
    async with running(settings_for(redis.url)) as runtime:
        good = await runtime.queue.enqueue(Job("good", "work", {"n": 1}, trusted=True))
        assert (await ended(runtime.queue, good)).state == "done"
        assert [(each.job.id, each.state, each.error["code"]) for each in await runtime.queue.jobs()] == [
            ("odd", "dead", "unreadable")
        ]
        assert not runtime.failed_tasks
        assert await runtime.queue.drop("odd")
    assert RAN == [1]
    assert "job odd cannot be read and is given up" in caplog.text
    assert "hunter2" not in caplog.text


async def test_other_things_under_the_keys_of_a_queue_do_not_end_its_worker(server, redis):
    server.set("{of-tests}:job:text", "hello")
    server.zadd("{of-tests}:jobs:default", {"text": 0, "nothing": 0, b"\xff\xfe": 0})
    async with running(settings_for(redis.url)) as runtime:
        good = await runtime.queue.enqueue(Job("good", "work", {"n": 1}, trusted=True))
        assert (await ended(runtime.queue, good)).state == "done"
        assert server.zcard("{of-tests}:jobs:default") == 0


def test_an_app_is_not_ready_while_its_queue_can_not_be_used(server, redis):
    from servey import background_action_channel

    made = create_app(actions=[work], channels=[background_action_channel(work)], settings=settings_for(redis.url))
    with client(made) as http:
        assert http.get("/health/ready").status_code == 200
        server.set("{of-tests}:queues", "hello")
        answer = http.get("/health/ready")
        assert (answer.status_code, answer.json()["failing"]) == (503, ["queue"])
        server.delete("{of-tests}:queues")
        assert http.get("/health/ready").status_code == 200


async def test_two_apps_of_one_redis_run_their_own_jobs(server, redis):
    @action(name="work")
    async def other(n: int) -> str:
        return f"other {n}"

    one, two = (settings_for(redis.url, namespace=name) for name in ("one", "two"))
    async with running(one) as first, running(two, other) as second:
        ids = [await first.queue.enqueue(Job(f"{n}", "work", {"n": n}, trusted=True)) for n in range(5)]
        assert await second.queue.state(ids[0]) is None
        mine = await second.queue.enqueue(Job("0", "work", {"n": 7}, trusted=True))
        assert [(await ended(first.queue, each)).result for each in ids] == [0, 1, 2, 3, 4]
        assert (await ended(second.queue, mine)).result == "other 7"
    assert {key.decode().partition(":")[0] for key in server.scan_iter()} == {"{one}", "{two}"}


async def test_a_short_run_of_a_schedule_costs_redis_five_commands(server, redis):
    @asynccontextmanager
    async def running_schedule():
        yield

    queue = RedisQueue.of(settings_for(redis.url))
    keeper = LeaseKeeper(queue.url, queue.prefix)
    async with keeper.running():
        slots = RedisSlots(queue, keeper, running_schedule)
        for slot in range(3):
            before = server.info("stats")["total_commands_processed"]
            async with slots.take("tick", slot, 15, 30) as taken:
                assert taken == "granted"
                async with slots.take("tick", slot + 1000, 15, 30) as again:
                    assert again == "overlaps"
            commands = server.info("stats")["total_commands_processed"] - before - 1
        assert commands == 5 + 4
    await queue.aclose()


@pytest.fixture(scope="module")
def cluster():
    """A Redis Cluster of one node, whose user may use the keys and channels of one namespace only."""
    with redis_server("--cluster-enabled", "yes", "--cluster-port", str(free_port())) as node:
        node.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        with redis_module.Redis.from_url(node.url) as admin:
            end = time.monotonic() + 10
            while b"cluster_state:ok" not in node.command("CLUSTER", "INFO"):
                assert time.monotonic() < end
                time.sleep(0.05)
            admin.acl_setuser(
                "of-tests", enabled=True, passwords=["+secret"], keys=["{of-tests}*"], channels=["{of-tests}*"],
                categories=["+@all", "-@dangerous", "-@admin"],
            )  # fmt: skip
        yield f"redis://of-tests:secret@127.0.0.1:{node.port}"


async def test_a_cluster_and_permission_for_the_keys_of_the_namespace_are_enough(cluster):
    @action(retry=Retry(max_tries=2, backoff=0.01))
    async def fails() -> None:
        raise RuntimeError

    from servey import FixedRateTrigger

    ticks: list[int] = []

    @action(triggers=FixedRateTrigger(0.5))
    async def tick() -> None:
        ticks.append(1)

    async with running(settings_for(cluster), work, fails, tick) as runtime:
        queue = runtime.queue
        first = await queue.enqueue(Job("one", "work", {"n": 1}, trusted=True), key="k")
        assert await queue.enqueue(Job("two", "work", {"n": 1}, trusted=True), key="k") == first
        assert (await ended(queue, first)).result == 1
        dead = await queue.enqueue(Job("bad", "fails", {}, trusted=True, retry=Retry(max_tries=2, backoff=0.01)))
        assert (await ended(queue, dead)).state == "dead"
        assert await queue.retry(dead)
        assert (await ended(queue, dead)).state == "dead"
        assert await queue.drop(dead)
        async with asyncio.timeout(10):
            while not ticks:
                await asyncio.sleep(0.02)
        assert not runtime.failed_tasks


@pytest.fixture(scope="module")
def troubled():
    """A Redis that tests freeze and fill."""
    with redis_server() as server:
        yield server


TROUBLES = {
    "read-only": (("CONFIG", "SET", "min-replicas-to-write", "1"), ("CONFIG", "SET", "min-replicas-to-write", "0")),
    "full": (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_redis_that_takes_no_writes_is_answered_by_503(troubled, trouble):
    begin, end = TROUBLES[trouble]
    made = create_app(actions=[work, start], settings=settings_for(troubled.url, env="prod"))
    with client(made) as http:
        job_id = http.post("/actions/start", json={"n": 1}).json()
        troubled.command(*begin)
        try:
            answer = http.post("/actions/start", json={"n": 1})
            assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
            answer = http.post("/actions/work", json={"n": 1}, headers={"Prefer": "respond-async"})
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert http.get(f"/jobs/{job_id}").json()["state"] == "queued"
        finally:
            troubled.command(*end)
        assert http.post("/actions/start", json={"n": 1}).status_code == 200


def test_a_host_app_answers_503_too_while_redis_is_away(troubled):
    host = FastAPI()
    Servey(actions=[work], settings=settings_for("redis://127.0.0.1:1/0", env="prod")).install(host, prefix="/s")
    with TestClient(host, raise_server_exceptions=False) as http:
        assert http.get("/s/jobs/one").status_code == 503
        answer = http.post("/s/actions/work", json={"n": 1}, headers={"Prefer": "respond-async"})
        assert answer.status_code == 503


def test_a_redis_that_hangs_is_answered_by_503_within_two_seconds_or_so(troubled):
    made = create_app(actions=[work, start], settings=settings_for(troubled.url, env="prod"))
    with client(made) as http:
        job_id = http.post("/actions/start", json={"n": 1}).json()
        troubled.freeze()
        try:
            for ask in (lambda: http.get(f"/jobs/{job_id}"), lambda: http.post("/actions/start", json={"n": 1})):
                begun = time.monotonic()
                assert ask().status_code == 503
                assert time.monotonic() - begun < 4
        finally:
            troubled.thaw()
        assert http.get(f"/jobs/{job_id}").status_code == 200


async def test_whoever_lists_or_changes_jobs_hears_that_redis_is_away():
    queue = RedisQueue.of(settings_for("redis://127.0.0.1:1/0"))
    for ask in (
        queue.jobs,
        queue.depth,
        lambda: queue.retry("a"),
        lambda: queue.drop("a"),
        lambda: queue.report("a", {}),
    ):
        with pytest.raises(Overloaded, match="does not answer"):
            await ask()
    await queue.aclose()


async def test_a_job_that_no_longer_waits_is_not_counted_as_waiting(server, redis):
    queue = RedisQueue.of(settings_for(redis.url))
    for name in ("one", "two"):
        await queue.enqueue(Job(name, "work", {"n": 1}, trusted=True))
    server.hset("{of-tests}:job:one", "state", "running")  # as a worker of an earlier version does
    assert [each.queued for each in await queue.actions()] == [1]
    server.delete("{of-tests}:job:two")
    assert [(each.queued, each.due_at) for each in await queue.actions()] == [(0, None)]
    await queue.aclose()
