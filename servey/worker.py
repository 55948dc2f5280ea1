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
from servey.logs import LogWriter, log_as_json
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
    if processes > 1 and settings.worker_port is not None:
        raise ConfigError("SERVEY_WORKER_PORT is for one process; start several workers instead of --processes")
    _log(settings)
    if processes == 1:
        _work()
        return
    _watch(processes)


def _log(settings: Settings) -> LogWriter | None:
    level = "DEBUG" if settings.debug else settings.log_level
    logging.getLogger("arq").setLevel(logging.WARNING)
    if settings.logs_json:
        return log_as_json(level)
    logging.basicConfig(level=level, format="%(levelname)s %(message)s", stream=sys.stderr)
    return None


def _work() -> None:
    from servey.app import build_runtime
    from servey.jobs.worker import work

    settings = Settings()
    writer = _log(settings)
    try:
        runtime = build_runtime(settings)
        runtime.check_settings()
        asyncio.run(work(runtime))
    finally:
        if writer is not None:
            writer.flush()


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
