"""Jobs over a cluster of three nodes, and over a service of Sentinel whose master is killed: real Redis processes."""

import asyncio
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from redis.crc import key_slot

from servey import ConfigError, Settings, action, create_app
from servey.core.queues import Job
from tests.jobs.conftest import NAMESPACE, PREFIX, ended
from tests.jobs.topologies import sentinel, three_nodes
from tests.serving import RedisServer, redis_server, wait_until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]
RAN: list[int] = []


@action
async def work(n: int) -> int:
    RAN.append(n)
    return n


@pytest.fixture
def cluster() -> Iterator[list[RedisServer]]:
    with three_nodes() as nodes:
        yield nodes


def settings_of(url: str) -> Settings:
    return Settings(env="dev", redis_url=url, namespace=NAMESPACE, job_grace=2, job_lease=3)


async def run_jobs(queue: Any, numbers: range, within: float = 60) -> None:
    """Enqueue jobs, also while no server takes them, and wait until all are done."""
    for number in numbers:
        job = Job(f"job-{number}", "work", {"n": number}, trusted=True)
        async with asyncio.timeout(within):
            while True:
                try:
                    await queue.enqueue(job, key=f"{number}")
                    break
                except Exception:
                    await asyncio.sleep(0.1)
    async with asyncio.timeout(within):
        for number in numbers:
            while True:
                try:
                    assert (await ended(queue, f"job-{number}", within)).state == "done"
                    break
                except Exception:
                    await asyncio.sleep(0.1)


async def test_jobs_run_over_a_cluster_of_three_nodes_from_any_of_its_addresses(cluster):
    owner = cluster[key_slot(PREFIX.encode()) // 5462]
    # The first address does not own the keys of the app.
    others = [node for node in cluster if node is not owner]
    url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in (*others, owner))
    made = create_app(actions=[work], settings=settings_of(url))
    async with made.router.lifespan_context(made):
        queue = made.runtime.queue
        await run_jobs(queue, range(20))
        later = await queue.enqueue(Job("later", "work", {"n": 1}, trusted=True), delay=60)
        assert await queue.cancel(later)
        assert len(await queue.jobs(states=("done",))) == 20
        assert not made.runtime.failed_tasks
    assert b":0" in others[0].command("DBSIZE")


async def test_jobs_survive_the_death_of_the_master_of_a_sentinel_service(tmp_path):
    RAN.clear()
    with redis_server() as master, redis_server("--replicaof", f"127.0.0.1 {master.port}") as replica:
        wait_until(lambda: b"master_link_status:up" in replica.command("INFO", "replication"), "the replica")
        with sentinel(tmp_path, master) as watcher:
            wait_until(lambda: b"num-slaves" in watcher.command("SENTINEL", "MASTER", "jobs"), "Sentinel's view")
            wait_until(
                lambda: str(replica.port).encode() in watcher.command("SENTINEL", "REPLICAS", "jobs"), "the replica"
            )
            url = f"redis+sentinel://127.0.0.1:{watcher.port}/jobs/0"
            made = create_app(actions=[work], settings=settings_of(url))
            async with made.router.lifespan_context(made):
                queue = made.runtime.queue
                await run_jobs(queue, range(10))
                waiting = await queue.enqueue(Job("waits", "work", {"n": 99}, trusted=True), delay=3)
                wait_until(lambda: b"lag=0" in master.command("INFO", "replication"), "replication")
                await asyncio.sleep(0.5)
                killed = time.monotonic()
                master.stop(signal.SIGKILL)
                await run_jobs(queue, range(10, 30), within=60)
                assert (await ended(queue, waiting)).state == "done"
                assert time.monotonic() - killed < 60
                assert not made.runtime.failed_tasks
            assert b"role:master" in replica.command("INFO", "replication")
            master.start()  # so that its fixture can end it
    assert set(RAN) == {*range(30), 99}


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://",
        "redis+cluster://a:1/0",
        "redis+cluster://a:1,,b:2",
        "redis+sentinel://a:1",
        "redis+sentinel://a:1/jobs/x",
        "redis+other://a:1",
    ],
)
def test_addresses_that_cannot_be_read_are_refused(url):
    with pytest.raises(ConfigError, match="write it as redis"):
        Settings(redis_url=url)
