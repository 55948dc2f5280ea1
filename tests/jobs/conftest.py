"""What the tests of jobs share: real workers in processes of their own."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.serving import environment, redis_server


@pytest.fixture
def redis_of_jobs():
    with redis_server() as server:
        yield server


@contextmanager
def worker(folder: Path, url: str, **env: str) -> Iterator["subprocess.Popen[str]"]:
    """`servey worker` in a folder, ended when the block ends."""
    log = (folder / f"worker-{time.monotonic_ns()}.log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "servey", "worker"],
        cwd=folder,
        env=environment(SERVEY_REDIS_URL=url, **env),
        stdout=log,
        stderr=subprocess.STDOUT,
        text=True,
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
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def until(self, enough: Callable[[list[Any]], Any], within: float = 30) -> list[Any]:
        end = time.monotonic() + within
        while not enough(found := self.read()):
            assert time.monotonic() < end, found[-20:]
            time.sleep(0.02)
        return found


NOTE = """
import json, os, time
def note(*what):
    with open("notes.jsonl", "a") as file:
        file.write(json.dumps(what) + "\\n")
"""


@pytest.fixture
def notes(tmp_path):
    return Notes(tmp_path)


def client(url: str) -> "redis.Redis[bytes]":
    return redis.Redis.from_url(url)
