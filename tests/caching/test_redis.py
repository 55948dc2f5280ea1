"""Results that processes share over Redis, and what becomes of them when something dies."""

import asyncio
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from servey import WEB_GET, Settings, TtlCacheControl, action, create_app
from servey.caching import results as results_module
from servey.caching.redis_backend import RedisBackend
from servey.caching.results import Results
from servey.testing import client
from tests.serving import RedisServer, Server, redis_server, serve, wait_until

ACTIONS = """
import os, time
from servey import WEB_GET, WEB_POST, Authorization, TtlCacheControl, action, invalidate

def note(line):
    with open("log.txt", "a", encoding="utf-8") as log:
        log.write(line + "\\n")

@action(triggers=WEB_GET, cache_control=TtlCacheControl(60, private=False), timeout=20)
def slow(n: int = 0) -> int:
    note(f"slow {n}")
    time.sleep(0.5 if n >= 0 else 600 if os.getpid() == -n else 0)
    return os.getpid()

@action(triggers=WEB_POST)
async def forget() -> None:
    await invalidate(slow)

@action(triggers=WEB_GET)
async def pid() -> int:
    return os.getpid()
"""


@contextmanager
def processes(folder: Path, redis_url: str) -> Any:
    """Two server processes of one project that share a Redis."""
    (folder / "actions.py").write_text(ACTIONS, encoding="utf-8")
    (folder / "log.txt").write_text("", encoding="utf-8")
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                serve(
                    "servey.server:discovered_app",
                    factory=True,
                    cwd=folder,
                    SERVEY_REDIS_URL=redis_url,
                    SERVEY_CACHE_PREFIX=f"test:{folder.name}",
                )
            )
            for _ in range(2)
        ]


def get(server: Server, path: str) -> Any:
    answer = httpx.get(f"{server.url}/actions/{path}", timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_100_simultaneous_misses_over_two_processes_are_one_computation(tmp_path, redis):
    with processes(tmp_path, redis.url) as servers:

        async def ask() -> list[int]:
            async with httpx.AsyncClient(timeout=30) as http:
                urls = [f"{servers[number % 2].url}/actions/slow" for number in range(100)]
                return [answer.json() for answer in await asyncio.gather(*map(http.get, urls))]

        pids = [get(server, "pid") for server in servers]
        assert pids[0] != pids[1]
        found = asyncio.run(ask())
        assert len(set(found)) == 1 and found[0] in pids
        assert (tmp_path / "log.txt").read_text(encoding="utf-8") == "slow 0\n"

        httpx.post(f"{servers[0].url}/actions/forget")
        assert get(servers[1], "slow") == get(servers[0], "slow")
        assert (tmp_path / "log.txt").read_text(encoding="utf-8") == "slow 0\n" * 2


def test_a_process_that_dies_while_it_computes_is_waited_for_a_few_seconds(tmp_path, redis):
    with processes(tmp_path, redis.url) as servers, ThreadPoolExecutor() as threads:
        dying = get(servers[0], "pid")
        first = threads.submit(lambda: httpx.get(f"{servers[0].url}/actions/slow?n=-{dying}", timeout=30))
        wait_until(lambda: "slow" in (tmp_path / "log.txt").read_text(encoding="utf-8"), "the computation")
        second = threads.submit(get, servers[1], f"slow?n=-{dying}")
        begun = time.monotonic()
        servers[0].end(signal.SIGKILL)
        assert second.result(30) == get(servers[1], "pid")
        assert time.monotonic() - begun < results_module.LEASE_SECONDS + 3
        assert first.exception(30) is not None


RUNS: Counter[str] = Counter()


@action(triggers=WEB_GET, cache_control=TtlCacheControl(60, private=False))
async def count() -> int:
    RUNS["count"] += 1
    await asyncio.sleep(0.05)
    return RUNS["count"]


@pytest.fixture(autouse=True)
def _nothing_ran(monkeypatch) -> None:
    RUNS.clear()
    monkeypatch.setattr(results_module, "_PAUSE_SECONDS", 0.5)


@pytest.fixture
def frail() -> Any:
    """A Redis that a test may stop."""
    with redis_server() as server:
        yield server


def ask(http: Any) -> int:
    answer = http.get("/actions/count")
    assert answer.status_code == 200
    return answer.json()


def test_an_outage_costs_the_cache_and_nothing_else(frail: RedisServer, caplog):
    with client(create_app(actions=[count], settings=Settings(env="dev", redis_url=frail.url))) as http:
        assert [ask(http), ask(http)] == [1, 1]
        frail.stop(signal.SIGKILL)
        assert [ask(http) for _ in range(3)] == [2, 3, 4]
        frail.start()
        wait_until(lambda: ask(http) == ask(http), "the cache's return")
    told = [record.getMessage() for record in caplog.records if "the cache" in record.getMessage()]
    assert [line.partition("(")[0].strip() for line in told] == ["the cache does not answer", "the cache answers again"]


def test_in_an_outage_simultaneous_calls_are_still_one_computation(frail: RedisServer):
    app = create_app(actions=[count], settings=Settings(env="dev", redis_url=frail.url))
    with client(app) as http, ThreadPoolExecutor(20) as threads:
        frail.stop(signal.SIGKILL)
        found = list(threads.map(lambda _: ask(http), range(40)))
        assert len(set(found)) < 10


def test_a_redis_that_hangs_holds_no_one_up_for_long(frail: RedisServer):
    with client(create_app(actions=[count], settings=Settings(env="dev", redis_url=frail.url))) as http:
        assert ask(http) == 1
        frail.freeze()
        for expected in (2, 3):
            begun = time.monotonic()
            assert ask(http) == expected
            assert time.monotonic() - begun < 3
        frail.thaw()
        wait_until(lambda: ask(http) == ask(http), "the cache's return")


def test_a_restart_of_redis_is_not_noticed(frail: RedisServer):
    with client(create_app(actions=[count], settings=Settings(env="dev", redis_url=frail.url))) as http:
        assert ask(http) == 1
        frail.restart()
        assert ask(http) in (1, 2)
        wait_until(lambda: ask(http) == ask(http), "the cache's return")


def test_without_redis_from_the_start(caplog):
    app = create_app(actions=[count], settings=Settings(env="dev", redis_url="redis://127.0.0.1:1/0"))
    with client(app) as http:
        assert [ask(http) for _ in range(3)] == [1, 2, 3]


def test_apps_of_one_redis_are_told_apart_by_their_prefix(redis, monkeypatch):
    monkeypatch.setattr(results_module, "_TIMEOUT_SECONDS", 20)  # a busy machine is no outage
    for prefix in ("test-one", "test-other"):
        settings = Settings(env="dev", redis_url=redis.url, cache_prefix=prefix)
        with client(create_app(actions=[count], settings=settings)) as http:
            assert ask(http) == ask(http)
    assert RUNS["count"] == 2


@pytest.mark.anyio
async def test_a_computation_that_is_longer_than_the_lease_keeps_its_lock(redis, monkeypatch):
    monkeypatch.setattr(results_module, "LEASE_SECONDS", 0.3)

    @action(cache_control=TtlCacheControl(60, private=False))
    async def long() -> int:
        RUNS["long"] += 1
        await asyncio.sleep(1)
        return RUNS["long"]

    app = create_app(actions=[long], settings=Settings(env="dev"))
    act = long.servey_action
    plan = app.runtime.plan(act)
    # Two of them stand for two processes: what they share is Redis.
    two = [Results(RedisBackend(redis.url), "test-lease") for _ in range(2)]
    before = asyncio.all_tasks()
    async with app.runtime.context("test") as context:
        assert plan.cache_policy is not None
        found = await asyncio.gather(*(each.result_of(act, plan.cache_policy, {}, context, long) for each in two))
        assert found == [1, 1]
        assert asyncio.all_tasks() == before
        assert not [key async for key in two[0].backend.client.scan_iter(match="test-lease:*:lock")]
    for each in two:
        await each.aclose()


@pytest.mark.anyio
async def test_a_lock_is_its_owners(redis):
    backend = RedisBackend(redis.url)
    assert await backend.lock("test-lock", "a", 10)
    assert not await backend.lock("test-lock", "b", 10)
    assert not await backend.unlock("test-lock", "b")
    assert not await backend.extend("test-lock", "b", 10)
    assert await backend.extend("test-lock", "a", 20)
    assert 15 < await backend.client.ttl("test-lock") <= 20
    assert await backend.unlock("test-lock", "a")
    assert await backend.lock("test-lock", "b", 0.01)
    await backend.clear(key="test-lock")
    for n in range(3):
        await backend.set(f"test*[x]:{n}", b"x", 10)
    await backend.set("test-other", b"y", 10)
    assert (await backend.clear("test*[x]"), await backend.get("test-other")) == (3, b"y")
    assert (await backend.get_with_ttl("test-other"))[0] in (9, 10)
    await backend.aclose()
