"""Worker processes: one, or several below one that watches them."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import signal
import sys
import time
from types import FrameType

from servey.errors import ConfigError
from servey.settings import Settings

logger = logging.getLogger("servey")

_PAUSE_SECONDS = 1


def serve_workers(processes: int) -> None:
    """Works until the process is asked to end; a worker that dies is replaced.

    Errors: ConfigError where there is no Redis, or where the project can not be built.
    """
    settings = Settings()
    if settings.redis_url is None:
        raise ConfigError("servey worker takes jobs from Redis; set SERVEY_REDIS_URL, e.g. redis://127.0.0.1:6379")
    logging.basicConfig(level=settings.log_level, format="%(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("arq").setLevel(logging.WARNING)
    if processes == 1:
        _work()
        return
    _watch(processes)


def _work() -> None:
    from servey.app import build_runtime
    from servey.jobs.worker import work

    runtime = build_runtime(Settings())
    asyncio.run(work(runtime))


def _watch(count: int) -> None:
    spawning = multiprocessing.get_context("spawn")
    ending = False

    def start() -> multiprocessing.process.BaseProcess:
        process = spawning.Process(target=_work)
        process.start()
        return process

    running = [start() for _ in range(count)]

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal ending
        ending = True
        for process in running:
            process.terminate()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    while not ending or any(process.is_alive() for process in running):
        for index, process in enumerate(running):
            process.join(0.1)
            if not process.is_alive() and not ending:
                logger.error("worker %s ended with %s and is replaced", process.pid, process.exitcode)
                time.sleep(_PAUSE_SECONDS)
                running[index] = start()
