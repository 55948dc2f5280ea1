"""What the tests of jobs share: real workers in processes of their own."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from servey import Authorization, Settings, create_app
from tests.jobs.actions import SEEN
from tests.serving import environment, redis_server

NAMESPACE = "of-tests"
PREFIX = "{of-tests}:"


@pytest.fixture
def redis_of_jobs():
    with redis_server() as server:
        yield server


@contextmanager
def worker(folder: Path, url: str, *words: str, **env: str) -> Iterator["subprocess.Popen[str]"]:
    """`servey worker` in a folder, ended when the block ends."""
    log = (folder / f"worker-{time.monotonic_ns()}.log").open("w", encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "servey", "worker", *words],
        cwd=folder,
        env=environment(**{"SERVEY_REDIS_URL": url, "SERVEY_NAMESPACE": NAMESPACE, **env}),
        stdout=log,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        log.close()


class Notes:
    """A file that actions of a project append lines to, whatever process they run in."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notes.jsonl"
        self.path.touch()

    def read(self) -> list[Any]:
        whole, _, _ = self.path.read_text(encoding="utf-8").rpartition("\n")  # a last line may not be whole yet
        return [json.loads(line) for line in whole.splitlines()]

    def until(self, enough: Callable[[list[Any]], Any], within: float = 30) -> list[Any]:
        end = time.monotonic() + within
        while not enough(found := self.read()):
            assert time.monotonic() < end, found[-20:]
            time.sleep(0.02)
        return found


NOTE = """
import json, os, time
def note(*what):
    with open("notes.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(what) + "\\n")
"""


@pytest.fixture
def notes(tmp_path):
    return Notes(tmp_path)


def client(url: str) -> "redis.Redis[bytes]":
    return redis.Redis.from_url(url)


@pytest.fixture(params=["memory", "Redis"])
def dev(request: pytest.FixtureRequest) -> Settings:
    """Settings of an app in development, which runs its own jobs: from memory, and from Redis."""
    made = Settings(env="dev", job_grace=2, namespace=NAMESPACE)
    if request.param == "memory":
        return made
    server = request.getfixturevalue("redis")
    with client(server.url) as cleared:
        cleared.flushdb()
    return made.model_copy(update={"redis_url": server.url})


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    SEEN.clear()


@asynccontextmanager
async def running(*actions: Callable[..., Any], settings: Settings, **more: Any) -> AsyncIterator[Any]:
    """The runtime of an app with these actions, while it runs."""
    made = create_app(actions=actions, settings=settings, **more)
    async with made.router.lifespan_context(made):
        yield made.runtime


async def until(happened: Callable[[], Any], within: float = 30) -> None:
    """Wait until something becomes true by itself, on this event loop."""
    async with asyncio.timeout(within):
        while not happened():
            await asyncio.sleep(0.005)


async def ended(queue: Any, job_id: str, within: float = 30) -> Any:
    """The state of a job once it has ended."""
    async with asyncio.timeout(within):
        while (state := await queue.state(job_id)) is None or state.state in ("queued", "running"):
            await asyncio.sleep(0.005)
    return state


async def enqueued(
    runtime: Any,
    act: Any,
    params: dict[str, Any] | None = None,
    *,
    caller: Authorization | None = None,
    trusted: bool = False,
    **more: Any,
) -> str:
    """The id of a job that this caller has enqueued."""
    async with runtime.context("test", authorization=caller, trusted=trusted) as context:
        return await context.enqueue(act, params, **more)
