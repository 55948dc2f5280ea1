"""Worker processes: a single one, or several below a parent that restarts them."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Coroutine
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from servey.core.errors import ConfigError
from servey.core.settings import Settings
from servey.jobs.weights import parse_weights
from servey.observability.logs import LogWriter, log_as_json
from servey.runtime.startup_checks import import_redis

logger: logging.Logger = logging.getLogger("servey")

_PAUSE_SECONDS = 1


def serve_workers(processes: int, *, queues: str | None = None, concurrency: int | None = None) -> None:
    """Run worker processes until SIGTERM or SIGINT; a worker that dies is replaced.

    ``queues`` and ``concurrency`` replace the settings ``job_queues`` and ``job_concurrency``.
    Errors: ConfigError if no Redis is configured, or if the project cannot be built.
    """
    # Worker processes read their settings from the environment.
    if queues is not None:
        os.environ["SERVEY_JOB_QUEUES"] = queues
    if concurrency is not None:
        os.environ["SERVEY_JOB_CONCURRENCY"] = str(concurrency)
    settings = Settings()
    if settings.job_queues is not None:
        parse_weights(settings.job_queues)
    if settings.redis_url is None:
        raise ConfigError("servey worker reads jobs from Redis; set SERVEY_REDIS_URL, e.g. redis://127.0.0.1:6379")
    if processes > 1 and settings.worker_port is not None:
        raise ConfigError(
            "SERVEY_WORKER_PORT works with one process only; start several workers instead of using --processes"
        )
    _log(settings)
    import_redis()  # a missing extra is reported before any process starts
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
    from servey.jobs.redis.worker import work
    from servey.jobs.service import jobs_and_schedules_here
    from servey.project import load_project

    settings = Settings()
    writer = _log(settings)
    try:
        project = load_project()
        project.check()
        served = project.required
        # The worker itself runs jobs and schedules, in development too.
        served.runtime.services[:] = [each for each in served.runtime.services if each is not jobs_and_schedules_here]
        _run_to_end(work(served.runtime, project.lifespan))
    finally:
        if writer is not None:
            writer.flush()


def _run_to_end(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on a new event loop, although other tasks of the loop may raise SystemExit.

    asyncio lets SystemExit and KeyboardInterrupt of any task end the loop; here they end only the task of the job that
    raised them. Signals stop the worker by handlers of the loop.
    """
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        task = loop.create_task(main)
        while True:
            try:
                return loop.run_until_complete(task)
            except (SystemExit, KeyboardInterrupt) as raised:
                if task.done():
                    raise
                logger.error("a task of a job raised %r; the worker continues", raised)


def _watch(count: int) -> None:
    spawning = multiprocessing.get_context("spawn")
    ending = False

    def start() -> BaseProcess:
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
                logger.error("worker %s exited with %s and is replaced", process.pid, process.exitcode)
                time.sleep(_PAUSE_SECONDS)
                running[index] = start()
