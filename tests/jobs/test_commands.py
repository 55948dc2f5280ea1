"""`servey jobs`: lists, and changes of many jobs at once, over a real Redis."""

import asyncio
import json
from typing import Any

import pytest

from servey import Retry, Settings
from servey.core.queues import Job
from servey.jobs.perform import Outcome
from servey.jobs.redis.queue import RedisQueue
from servey.jobs.redis.source import JobSource
from tests.jobs.conftest import NAMESPACE, client

ERROR = {"detail": "what went wrong", "code": "internal"}


@pytest.fixture
def jobs(redis, command_line):
    """Run `servey jobs WORDS`; gives the exit code, the output and the errors."""
    with client(redis.url) as cleared:
        cleared.flushdb()
    env = {"SERVEY_REDIS_URL": redis.url, "SERVEY_NAMESPACE": NAMESPACE}
    return lambda *words: command_line.run("jobs", *words, **env)


def on_queue(url: str, use: Any) -> Any:
    async def main() -> Any:
        queue = RedisQueue.of(Settings(redis_url=url, namespace=NAMESPACE))
        source = JobSource(queue)
        try:
            return await use(queue, source)
        finally:
            await source.aclose()
            await queue.aclose()

    return asyncio.run(main())


async def dead(queue: RedisQueue, source: JobSource, *names: str, act: str = "work") -> None:
    """Enqueue jobs, and give them up."""
    for name in names:
        await queue.enqueue(Job(name, act, {}, trusted=True, queue="mail", retry=Retry(max_tries=1)))
    for taken in (await source.take([("mail", 100)], 100)).taken:
        assert await source.finish(taken, Outcome("dead", error=ERROR), 0.5)


def test_lists_select_by_state_action_queue_and_time(redis, jobs):
    async def fill(queue: RedisQueue, source: JobSource) -> None:
        await dead(queue, source, "one", "two")
        await dead(queue, source, "three", act="other")
        await queue.enqueue(Job("waits", "work", {}, trusted=True))

    on_queue(redis.url, fill)

    def ids(*words: str) -> list[str]:
        return sorted(each["id"] for each in json.loads(jobs(*words, "--json")[1]))

    assert ids() == ["one", "three", "two", "waits"]
    assert ids("--state", "queued") == ["waits"]
    assert ids("--queue", "mail") == ["one", "three", "two"]
    assert ids("dead") == ["one", "three", "two"]
    assert ids("dead", "--action", "other") == ["three"]
    assert ids("dead", "--since", "1h") == ["one", "three", "two"]
    assert ids("dead", "--since", "0s") == []
    code, _, problem = jobs("--state", "lost")
    assert (code, problem) == (
        2,
        "error: --state lost: use one of queued, running, done, failed, dead, cancelled\n",
    )
    code, _, problem = jobs("dead", "--since", "soon")
    assert (code, problem) == (2, "error: --since soon: write a number and a unit, e.g. 90s, 30m, 6h or 7d\n")


def test_one_job_is_shown_with_its_tries(redis, jobs):
    on_queue(redis.url, lambda queue, source: dead(queue, source, "one"))
    code, text, _ = jobs("show", "one")
    assert code == 0
    assert "TRY  STARTED" in text
    assert text.rstrip().endswith("what went wrong")
    [shown] = json.loads(jobs("show", "one", "--json")[1])["history"]
    assert (shown["number"], shown["error"]) == (1, ERROR)
    assert round(shown["ended_at"] - shown["started_at"], 3) == 0.5
    assert jobs("show", "nothing")[::2] == (1, "error: no such job: nothing\n")


def test_many_dead_jobs_are_retried_and_dropped_at_once(redis, jobs):
    async def fill(queue: RedisQueue, source: JobSource) -> None:
        await dead(queue, source, *(f"a{number}" for number in range(60)))
        await dead(queue, source, "b", act="other")

    on_queue(redis.url, fill)
    assert jobs("retry", "--all", "--action", "other")[1] == "1 jobs retried\n"
    assert jobs("drop", "--older-than", "1h")[1] == "0 jobs dropped\n"
    assert jobs("retry", "a1", "a2")[1] == "2 jobs retried\n"
    assert jobs("drop", "--older-than", "0s")[1] == "58 jobs dropped\n"
    assert [each["id"] for each in json.loads(jobs("dead", "--json")[1])] == []
    for words in (("retry",), ("retry", "--all", "a"), ("drop",), ("drop", "--all", "a")):
        assert jobs(*words)[0] == 2


def test_queues_are_paused_and_jobs_cancelled(redis, jobs):
    on_queue(redis.url, lambda queue, source: queue.enqueue(Job("one", "work", {}, trusted=True, queue="mail")))
    assert jobs("pause", "mail")[1] == "queue 'mail' is paused\n"
    [listed] = json.loads(jobs("queues", "--json")[1])
    assert (listed["name"], listed["paused"], listed["queued"], listed["running"]) == ("mail", True, 1, 0)
    assert jobs("queues")[1].splitlines()[1].split()[:4] == ["mail", "paused", "1", "0"]
    assert on_queue(redis.url, lambda queue, source: source.take([("mail", 5)], 5)).taken == []
    assert jobs("resume", "mail")[1] == "queue 'mail' is open\n"
    assert jobs("cancel", "one")[1] == "1 jobs cancelled\n"
    code, text, problem = jobs("cancel", "one")
    assert (code, text, problem) == (1, "0 jobs cancelled\n", "error: no such job, so not cancelled: one\n")
    assert jobs("pause", "no spaces")[0] == 2


def test_an_error_cannot_control_the_terminal(redis, jobs):
    async def fill(queue: RedisQueue, source: JobSource) -> None:
        await queue.enqueue(Job("one", "work", {}, trusted=True))
        (taken,) = (await source.take([("default", 1)], 1)).taken
        error = {"detail": "\x1b[2J\nforged  work  done\u202e é", "code": "conflict"}
        assert await source.finish(taken, Outcome("dead", error=error), 0.5)

    on_queue(redis.url, fill)
    for words in (("dead",), ("show", "one")):
        text = jobs(*words)[1]
        assert r"[2J forged work done\u202e é" in text
        assert "\x1b" not in text
