"""No job is lost while workers are killed and Redis restarts or fails over, with queues, priorities, limits and cancels."""

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any, TypeVar

import pytest
from redis.crc import key_slot

from servey import Settings
from servey.core.errors import Overloaded
from servey.core.queues import Job, JobLimit
from servey.jobs.redis.queue import RedisQueue
from tests.jobs.conftest import NAMESPACE, NOTE, PREFIX, worker
from tests.jobs.topologies import sentinel, three_nodes
from tests.serving import RedisServer, redis_server, wait_until

pytestmark = pytest.mark.timeout(900)
T = TypeVar("T")

COUNT, KILLS = 10_000, 10
MANY = (
    NOTE
    + """
from servey import *

@action
def one(n: int) -> None:
    time.sleep(0.005)
    note(n, os.getpid())
"""
)


async def answered(ask: Callable[[], Awaitable[T]], within: float = 60) -> T:
    """What a queue answers, also after a moment in which its Redis does not answer."""
    end = time.monotonic() + within
    while True:
        try:
            return await ask()
        except Overloaded:
            assert time.monotonic() < end
            await asyncio.sleep(0.1)


def with_queue(url: str, use: Callable[[RedisQueue], Awaitable[T]]) -> T:
    async def main() -> T:
        queue = RedisQueue.of(Settings(redis_url=url, namespace=NAMESPACE))
        try:
            return await use(queue)
        finally:
            await queue.aclose()

    return asyncio.run(main())


def job(n: int) -> Job:
    limit = JobLimit(f"limit-{n % 4}", concurrent=30) if n % 2 else None
    return Job(f"job-{n}", "one", {"n": n}, trusted=True, queue=f"q{n % 3}", priority=n % 5, limit=limit)


def drill(tmp_path: Any, notes: Any, url: str, break_redis: Callable[[], None]) -> None:
    """Run jobs with three workers; kill a worker ten times, break Redis twice, cancel some jobs; none may be lost."""
    (tmp_path / "actions.py").write_text(MANY, encoding="utf-8")
    chance = random.Random(7)

    async def fill(queue: RedisQueue) -> None:
        for begin in range(0, COUNT, 20):
            await asyncio.gather(*(queue.enqueue(job(n)) for n in range(begin, begin + 20)))

    async def states(queue: RedisQueue) -> Counter[str]:
        found = [await queue.state(f"job-{n}") for n in range(COUNT)]
        return Counter(state.state for state in found if state is not None)

    async def is_idle(queue: RedisQueue) -> bool:
        return all(each.queued + each.running == 0 for each in await answered(queue.queues))

    with_queue(url, fill)
    begun = time.monotonic()
    with ExitStack() as stack:
        alive = [stack.enter_context(worker(tmp_path, url, SERVEY_JOB_LEASE="2")) for _ in range(3)]
        for number in range(KILLS):
            seen = len(notes.read())
            notes.until(lambda found, seen=seen: len(found) >= min(seen + 300, COUNT - 400), within=180)
            alive.pop(chance.randrange(len(alive))).kill()
            alive.append(stack.enter_context(worker(tmp_path, url, SERVEY_JOB_LEASE="2")))

            async def cancel_some(queue: RedisQueue, number: int = number) -> None:
                for each in range(number, COUNT, 500):
                    await answered(lambda each=each: queue.cancel(f"job-{each}"))

            with_queue(url, cancel_some)
            if number in (3, 7):
                break_redis()
        wait_until(lambda: with_queue(url, is_idle), "the end", within=400)
    ended, runs = with_queue(url, states), Counter(n for n, _ in notes.read())
    print(f"{dict(ended)}, {sum(runs.values()) - len(runs)} ran again, {time.monotonic() - begun:.0f} s")
    assert ended["done"] + ended["cancelled"] == COUNT
    assert ended["done"] >= COUNT - KILLS * 20
    assert set(range(COUNT)) - set(runs) <= {n for number in range(KILLS) for n in range(number, COUNT, 500)}
    # Only what a killed worker had taken, and what Redis did not hear of while it was away, runs again.
    assert sum(runs.values()) - len(runs) <= KILLS * 50 + 2 * 150


@pytest.mark.slow
def test_no_job_is_lost_while_workers_are_killed_and_redis_restarts(tmp_path, notes, redis_of_jobs):
    drill(tmp_path, notes, redis_of_jobs.url, redis_of_jobs.restart)


@pytest.mark.drill
def test_no_job_is_lost_over_a_cluster_of_three_nodes(tmp_path, notes):
    with three_nodes() as nodes:
        owner = nodes[key_slot(PREFIX.encode()) // 5462]
        url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        drill(tmp_path, notes, url, owner.restart)


@pytest.mark.drill
def test_no_job_is_lost_while_sentinel_fails_over(tmp_path, notes):
    with redis_server() as first, redis_server("--replicaof", f"127.0.0.1 {first.port}") as second:
        wait_until(lambda: b"master_link_status:up" in second.command("INFO", "replication"), "the replica")
        with sentinel(tmp_path, first) as watcher:
            wait_until(
                lambda: str(second.port).encode() in watcher.command("SENTINEL", "REPLICAS", "jobs"), "Sentinel's view"
            )
            pair: list[RedisServer] = [first, second]

            def is_linked(replica: RedisServer) -> bool:
                return b"master_link_status:up" in replica.command("INFO", "replication")

            def fail_over() -> None:
                """Kill the master; once Sentinel names its replica, let it come back as the replica."""
                old, new = pair
                wait_until(lambda: is_linked(new), "replication", within=60)
                old.stop(signal.SIGKILL)
                named = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "jobs")
                wait_until(lambda: str(new.port).encode() in watcher.command(*named), "the failover", within=60)
                old.start()
                old.command("REPLICAOF", "127.0.0.1", str(new.port))  # Sentinel does so too, after a while
                pair.reverse()

            drill(tmp_path, notes, f"redis+sentinel://127.0.0.1:{watcher.port}/jobs/0", fail_over)
