"""Jobs and schedules over a real Redis, by real worker processes: killed, stopped, ended; Redis restarted."""

import asyncio
import json
import random
import signal
import sys
import time
from collections import Counter

import pytest

from servey import Authorization, Settings, create_app
from servey.core.queues import Job, JobLimit, Retry
from servey.jobs.perform import Outcome
from servey.jobs.redis import scripts
from servey.jobs.redis.queue import RedisQueue
from servey.jobs.redis.source import JobSource
from tests.jobs.conftest import NAMESPACE, NOTE, PREFIX, Notes, client, worker
from tests.serving import run, wait_until

ACTIONS = (
    NOTE
    + """
import asyncio
from servey import *

@action(triggers=WEB_POST)
def quick(n: int, context: Context, authorization: Authorization | None) -> int:
    note("quick", n, os.getpid(), authorization.subject_id if authorization else None, context.request_id)
    return n * 2

@action(timeout=600)
async def long(n: int, seconds: float) -> None:
    note("begin", n, os.getpid())
    await asyncio.sleep(seconds)
    note("end", n, os.getpid())

@action(retry=Retry(max_tries=2, backoff=0.05))
def fails() -> None:
    note("fails")
    raise RuntimeError("secret text")

@action
def kills_its_worker() -> None:
    note("kills")
    os.kill(os.getpid(), 9)
"""
)


ALL = [("default", 100)]


def queue_at(url: str, *, lease: float = 2) -> RedisQueue:
    return RedisQueue.of(Settings(redis_url=url, job_lease=lease, namespace=NAMESPACE))


def enqueue(url: str, act: str, params, **more) -> str:
    """The id of a job that the app itself enqueues."""

    async def main() -> str:
        queue = queue_at(url)
        job = Job(f"{act}-{random.getrandbits(64):x}", act, params, trusted=True, enqueued_at=time.time(), **more)
        try:
            return await queue.enqueue(job)
        finally:
            await queue.aclose()

    return asyncio.run(main())


def state(url: str, job_id: str):
    async def main():
        queue = queue_at(url)
        try:
            return await queue.state(job_id)
        finally:
            await queue.aclose()

    return asyncio.run(main())


pytestmark = pytest.mark.anyio


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "actions.py").write_text(ACTIONS, encoding="utf-8")
    return tmp_path


def test_a_web_process_enqueues_and_a_worker_works(folder, notes, redis_of_jobs, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "actions", raising=False)  # of another test
    from servey.testing import client as http_client
    from servey.testing import token_for

    secret = "a-secret-of-more-than-32-bytes-for-tests"
    made = create_app(settings=Settings(redis_url=redis_of_jobs.url, jwt_secret_key=secret, namespace=NAMESPACE))
    headers = {"Authorization": f"Bearer {token_for(made, Authorization('ada'))}", "X-Request-ID": "of-the-request"}
    with http_client(made) as http:
        answer = http.post("/actions/quick", json={"n": 21}, headers={**headers, "Prefer": "respond-async"})
        assert answer.status_code == 202
        path = answer.headers["location"]
        assert http.get(path, headers=headers).json()["state"] == "queued"
        with worker(folder, redis_of_jobs.url, JWT_SECRET_KEY=secret):
            wait_until(lambda: http.get(path, headers=headers).json()["state"] == "done", "the end of the job")
        assert http.get(path, headers=headers).json()["result"] == 42
        assert http.get(path).status_code == 404
    [(_, _, _, subject, request_id)] = notes.read()
    assert (subject, request_id) == ("ada", "of-the-request")


def test_payloads_are_json(folder, redis_of_jobs):
    job_id = enqueue(redis_of_jobs.url, "quick", {"n": 1})
    with client(redis_of_jobs.url) as redis:
        assert json.loads(redis.hget(f"{PREFIX}job:{job_id}", "params")) == {"n": 1}
        assert json.loads(redis.hget(f"{PREFIX}job:{job_id}", "job"))["action"] == "quick"
        for key in redis.scan_iter():
            if redis.type(key) == b"string":
                assert not redis.get(key).startswith(b"\x80"), key  # what pickle begins with


def test_what_fails_ends_dead_and_the_command_line_drives_it(folder, notes, redis_of_jobs):
    env = {"SERVEY_REDIS_URL": redis_of_jobs.url, "SERVEY_NAMESPACE": NAMESPACE}
    job_id = enqueue(redis_of_jobs.url, "fails", {}, retry=Retry(max_tries=2, backoff=0.05))
    waiting = json.loads(run("-m", "servey", "jobs", "--json", cwd=folder, **env).stdout)
    assert [(each["id"], each["state"]) for each in waiting] == [(job_id, "queued")]
    with worker(folder, redis_of_jobs.url):
        wait_until(lambda: state(redis_of_jobs.url, job_id).state == "dead", "the end of the job")
        listed = run("-m", "servey", "jobs", "dead", cwd=folder, **env).stdout
        assert job_id in listed
        assert "Internal Server Error" in listed
        assert "secret text" not in listed
        assert run("-m", "servey", "jobs", "retry", job_id, cwd=folder, **env).stdout == "1 jobs retried\n"
        notes.until(lambda found: len(found) == 4)
        wait_until(lambda: state(redis_of_jobs.url, job_id).state == "dead", "its second end")
    assert run("-m", "servey", "jobs", "drop", "--all", cwd=folder, **env).stdout == "1 jobs dropped\n"
    again = run("-m", "servey", "jobs", "retry", job_id, cwd=folder, **env)
    assert again.returncode == 1
    assert f"no such job, so not retried: {job_id}" in again.stderr


def test_a_killed_workers_job_runs_again_within_its_lease(folder, notes, redis_of_jobs):
    job_id = enqueue(redis_of_jobs.url, "long", {"n": 1, "seconds": 3})
    with worker(folder, redis_of_jobs.url, SERVEY_JOB_LEASE="2") as first:
        notes.until(lambda found: len(found) == 1)
        first.kill()
        killed = time.monotonic()
        with worker(folder, redis_of_jobs.url, SERVEY_JOB_LEASE="2"):
            notes.until(lambda found: len(found) == 2)
            assert time.monotonic() - killed < 30
            wait_until(lambda: state(redis_of_jobs.url, job_id).state == "done", "the end of the job")
    assert [what for what, *_ in notes.read()] == ["begin", "begin", "end"]


def test_a_worker_that_lost_its_lease_can_not_finish_the_job(folder, notes, redis_of_jobs):
    job_id = enqueue(redis_of_jobs.url, "long", {"n": 1, "seconds": 3})
    with worker(folder, redis_of_jobs.url, SERVEY_JOB_LEASE="1") as first:
        notes.until(lambda found: len(found) == 1)
        first.send_signal(signal.SIGSTOP)
        with worker(folder, redis_of_jobs.url, SERVEY_JOB_LEASE="1") as second:
            found = notes.until(lambda found: len(found) == 2)
            assert [pid for *_, pid in found] == [first.pid, second.pid]
            first.send_signal(signal.SIGCONT)
            wait_until(lambda: state(redis_of_jobs.url, job_id).state == "done", "the end of the job")
        with client(redis_of_jobs.url) as redis:
            assert int(redis.hget(f"{PREFIX}job:{job_id}", "fence")) == 2
            assert redis.zcard(f"{PREFIX}jobs:default") == 0


async def taken_twice(queue: RedisQueue):
    """A job whose first holder has lost its lease to a second one."""
    job_id = await queue.enqueue(Job("one", "quick", {}, trusted=True))
    source = JobSource(queue)
    (first,) = (await source.take(ALL, 5)).taken
    assert (await source.take(ALL, 5)).taken == []  # it has its lease
    async with asyncio.timeout(5):
        while not (again := (await source.take(ALL, 5)).taken):
            await asyncio.sleep(0.05)
    (second,) = again
    assert (second.fence, second.suspect, second.killed) == (2, True, 0)
    return source, job_id, first, second


async def renewed(queue: RedisQueue, taken) -> bool:
    answer = await queue.scripts.run(scripts.RENEW, taken.job.id, taken.fence, queue.lease_ms)
    return answer == scripts.RENEWED


async def test_a_holder_that_lost_a_job_can_neither_keep_nor_fail_it(redis_of_jobs):
    queue = queue_at(redis_of_jobs.url, lease=1)
    source, job_id, first, second = await taken_twice(queue)
    assert not await renewed(queue, first)
    assert not await source.finish(first, Outcome("dead", error={"detail": "no", "code": "internal"}))
    assert not await source.give_back(first)
    assert (await queue.state(job_id)).state == "running"
    assert await renewed(queue, second)
    assert await source.finish(second, Outcome("done", result=2))
    assert (await queue.state(job_id)).result == 2
    assert not await renewed(queue, second)  # a job that has ended does not run again
    await source.aclose()
    await queue.aclose()


async def test_of_two_holders_of_a_job_the_first_success_counts(redis_of_jobs):
    queue = queue_at(redis_of_jobs.url, lease=1)
    source, job_id, first, second = await taken_twice(queue)
    assert await source.finish(first, Outcome("done", result=1))
    assert not await renewed(queue, second)
    assert not await source.finish(second, Outcome("done", result=2))
    assert not await source.finish(second, Outcome("dead"))
    assert ((await queue.state(job_id)).state, (await queue.state(job_id)).result) == ("done", 1)
    assert (await source.take(ALL, 5)).taken == []
    await source.aclose()
    await queue.aclose()


def test_a_job_that_kills_its_workers_is_given_up_and_its_neighbours_are_not(folder, notes, redis_of_jobs):
    url = redis_of_jobs.url
    neighbours = [enqueue(url, "long", {"n": n, "seconds": 0.3}) for n in range(3)]
    job_id = enqueue(url, "kills_its_worker", {})

    def kills() -> int:
        return sum(what == "kills" for what, *_ in notes.read())

    for count in (1, 2, 3):
        with worker(folder, url, SERVEY_JOB_LEASE="1") as process:
            assert process.wait(60) == -signal.SIGKILL
            assert kills() == count
    with worker(folder, url, SERVEY_JOB_LEASE="1"):
        wait_until(lambda: state(url, job_id).state == "dead", "the end of the job")
        wait_until(lambda: all(state(url, each).state == "done" for each in neighbours), "the end of its neighbours")
    assert state(url, job_id).error["code"] == "worker_lost"
    assert kills() == 3


def test_asked_to_end_a_worker_finishes_what_runs(folder, notes, redis_of_jobs):
    job_id = enqueue(redis_of_jobs.url, "long", {"n": 1, "seconds": 1})
    with worker(folder, redis_of_jobs.url) as process:
        notes.until(lambda found: len(found) == 1)
        process.terminate()
        assert process.wait(15) == 0
    assert state(redis_of_jobs.url, job_id).state == "done"


def test_what_does_not_end_in_time_is_given_back(folder, notes, redis_of_jobs):
    job_id = enqueue(redis_of_jobs.url, "long", {"n": 1, "seconds": 60})
    with worker(folder, redis_of_jobs.url, SERVEY_JOB_GRACE="0.2") as process:
        notes.until(lambda found: len(found) == 1)
        process.terminate()
        assert process.wait(15) == 0
    given_back = state(redis_of_jobs.url, job_id)
    assert (given_back.state, given_back.tries) == ("queued", 0)
    with worker(folder, redis_of_jobs.url, SERVEY_JOB_GRACE="0.2"):
        notes.until(lambda found: len(found) == 2)


def test_a_worker_waits_for_redis_and_outlives_its_restart(folder, notes, redis_of_jobs):
    redis_of_jobs.stop()
    with worker(folder, redis_of_jobs.url) as process:
        redis_of_jobs.start()
        enqueue(redis_of_jobs.url, "quick", {"n": 1})
        notes.until(lambda found: len(found) == 1)
        redis_of_jobs.restart(signal.SIGKILL)
        enqueue(redis_of_jobs.url, "quick", {"n": 2})
        notes.until(lambda found: len(found) == 2)
        assert process.poll() is None


def test_a_worker_without_redis_says_what_to_set(folder):
    done = run("-m", "servey", "worker", cwd=folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert "set SERVEY_REDIS_URL" in done.stderr


SCHEDULES = (
    NOTE
    + """
from servey import *

def every(seconds):
    @action(name=f"every_{seconds}", triggers=FixedRateTrigger(seconds))
    def run() -> None:
        slot = round(time.time() // seconds * seconds, 3)
        note(seconds, slot, os.getpid())
    return run

half, one, seven = every(0.5), every(1), every(7)
"""
)


def check_slots(found, begin: float, end: float, *, missing: int, outage: tuple[float, float] = (0, 0)) -> None:
    """No slot ran twice, and no more than so many of those between begin and end did not run."""
    for interval in (0.5, 1, 7):
        slots = Counter(slot for each, slot, _ in found if each == interval)
        assert max(slots.values()) == 1, (interval, slots)
        first = -(-begin // interval) * interval
        wanted = {round(first + interval * number, 3) for number in range(int((end - first) / interval))}
        lost = sorted(wanted - set(slots))
        lost = [slot for slot in lost if not outage[0] - 1 <= slot <= outage[1] + 1]
        assert len(lost) <= missing, (interval, lost)


def run_three(tmp_path, notes: Notes, redis, *, seconds: float) -> None:
    (tmp_path / "actions.py").write_text(SCHEDULES, encoding="utf-8")
    with worker(tmp_path, redis.url) as first, worker(tmp_path, redis.url) as second, worker(tmp_path, redis.url):
        notes.until(lambda found: len({pid for *_, pid in found}) >= 1 and len(found) > 3)
        begin = time.time() + 3  # until all three have come up
        time.sleep(seconds / 3)
        first.kill()
        second.send_signal(signal.SIGSTOP)
        time.sleep(4)
        second.send_signal(signal.SIGCONT)
        time.sleep(seconds - seconds / 3 - 4)
        end = time.time() - 1
    check_slots(notes.read(), begin, end, missing=1)


def test_each_slot_runs_once_though_a_worker_is_killed_and_another_stopped(tmp_path, notes, redis_of_jobs):
    run_three(tmp_path, notes, redis_of_jobs, seconds=12)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_each_slot_runs_once_for_a_minute(tmp_path, notes, redis_of_jobs):
    run_three(tmp_path, notes, redis_of_jobs, seconds=60)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_only_slots_inside_an_outage_of_redis_are_missing(tmp_path, notes, redis_of_jobs):
    (tmp_path / "actions.py").write_text(SCHEDULES, encoding="utf-8")
    with worker(tmp_path, redis_of_jobs.url), worker(tmp_path, redis_of_jobs.url):
        notes.until(lambda found: len(found) > 3)
        begin = time.time() + 3
        time.sleep(8)
        down = time.time()
        redis_of_jobs.stop(signal.SIGKILL)
        time.sleep(3)
        redis_of_jobs.start()
        up = time.time()
        time.sleep(10)
        end = time.time() - 1
    check_slots(notes.read(), begin, end, missing=0, outage=(down, up))


BLOCKING = (
    NOTE
    + """
import asyncio, sys
from servey import *

@action(timeout=60)
async def blocks() -> str:
    note("blocks", os.getpid())
    time.sleep(4)
    return "made"

@action(timeout=60)
async def rests() -> str:
    note("rests", os.getpid())
    await asyncio.sleep(2)
    return "made"

@action
async def exits_in_a_task() -> None:
    async def child():
        sys.exit(3)
    await asyncio.create_task(child())

@action(triggers=FixedRateTrigger(1), timeout=60)
async def tick() -> None:
    note("tick", os.getpid())
    time.sleep(2.5)
    note("tock", os.getpid())
"""
)


def test_a_loop_that_is_blocked_for_longer_than_the_lease_keeps_its_jobs_and_schedules(tmp_path, notes, redis_of_jobs):
    (tmp_path / "actions.py").write_text(BLOCKING, encoding="utf-8")
    url = redis_of_jobs.url
    once = Retry(max_tries=1)
    with worker(tmp_path, url, SERVEY_JOB_LEASE="1") as first, worker(tmp_path, url, SERVEY_JOB_LEASE="1") as second:
        notes.until(lambda found: found)
        ids = [enqueue(url, name, {}, retry=once) for name in ("rests", "blocks", "exits_in_a_task")]
        notes.until(lambda found: sum(what == "tock" for what, *_ in found) >= 3)
        wait_until(lambda: all(state(url, each).state != "running" for each in ids), "the end of the jobs", within=60)
        assert (first.poll(), second.poll()) == (None, None)
        states = [state(url, each) for each in ids]
        found = [what for what, *_ in notes.read()]
    assert [each.state for each in states] == ["done", "done", "failed"]
    assert (found.count("blocks"), found.count("rests")) == (1, 1)
    ticks = [what for what in found if what in ("tick", "tock")]
    assert ticks == ["tick", "tock"] * (len(ticks) // 2) + ["tick"] * (len(ticks) % 2)


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


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_no_job_is_lost_while_workers_are_killed_and_redis_restarts(tmp_path, notes, redis_of_jobs):
    count, kills = 10_000, 10
    (tmp_path / "actions.py").write_text(MANY, encoding="utf-8")

    async def fill() -> None:
        queue = queue_at(redis_of_jobs.url)
        for begin in range(0, count, 20):
            jobs = [
                Job(
                    f"job-{n}", "one", {"n": n}, trusted=True, queue=f"q{n % 3}", priority=n % 5,
                    limit=JobLimit(f"limit-{n % 4}", concurrent=30) if n % 2 else None,
                )
                for n in range(begin, begin + 20)
            ]  # fmt: skip
            await asyncio.gather(*map(queue.enqueue, jobs))
        await queue.aclose()

    async def cancel_some(numbers: range) -> None:
        queue = queue_at(redis_of_jobs.url)
        for number in numbers:
            await queue.cancel(f"job-{number}")
        await queue.aclose()

    async def states() -> Counter[str]:
        queue = queue_at(redis_of_jobs.url)
        found = [await queue.state(f"job-{n}") for n in range(count)]
        await queue.aclose()
        return Counter(state.state for state in found if state is not None)

    asyncio.run(fill())
    chance = random.Random(7)
    alive: list = []
    in_flight = 0
    from contextlib import ExitStack

    with ExitStack() as stack:

        def begin_one() -> None:
            alive.append(stack.enter_context(worker(tmp_path, redis_of_jobs.url, SERVEY_JOB_LEASE="2")))

        for _ in range(3):
            begin_one()
        for number in range(kills):
            seen = len(notes.read())
            notes.until(lambda found, seen=seen: len(found) >= min(seen + 300, count - 400), within=120)
            alive.pop(chance.randrange(len(alive))).kill()
            in_flight += 50
            begin_one()
            asyncio.run(cancel_some(range(number, count, 500)))
            if number in (3, 7):
                redis_of_jobs.restart()
        with client(redis_of_jobs.url) as redis:
            left = [f"{PREFIX}{kind}:q{n}" for kind in ("jobs", "later") for n in range(3)]
            wait_until(lambda: not redis.exists(*left, f"{PREFIX}running", f"{PREFIX}held"), "the end", within=200)
    runs = Counter(n for n, _ in notes.read())
    ended = asyncio.run(states())
    assert ended["done"] + ended["cancelled"] == count
    assert ended["done"] >= count - kills * 20
    assert set(range(count)) - set(runs) <= {n for number in range(kills) for n in range(number, count, 500)}
    twice = sum(times - 1 for times in runs.values())
    assert twice <= in_flight, twice
