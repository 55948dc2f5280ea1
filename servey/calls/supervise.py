"""Keep the long-lived tasks of a process running: workers, schedules, subscriptions."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Protocol

from servey.core.process import Counters
from servey.observability.metrics import TASK_RESTARTS

logger: logging.Logger = logging.getLogger("servey")

FIRST_DELAY = 0.1
LONGEST_DELAY = 10.0
SETTLED_SECONDS = 1.0
"""A restarted task counts as recovered once it has run for this long."""


class Supervising(Protocol):
    """The process that a supervised task belongs to."""

    failed_tasks: dict[str, str]

    @property
    def metrics(self) -> Counters:
        """Counts restarts."""
        ...


async def supervise(
    name: str,
    run: Callable[[], Awaitable[object]],
    process: Supervising,
    *,
    first_delay: float = FIRST_DELAY,
    longest_delay: float = LONGEST_DELAY,
) -> None:
    """Run a long-lived coroutine function until this task is cancelled; restart it whenever it raises or returns.

    Each failure is logged with its traceback and counted, and ``process.failed_tasks`` names the task until it has run
    for `SETTLED_SECONDS` again, so readiness is false meanwhile. The delay between restarts doubles.
    Units: delays in seconds.
    """
    loop = asyncio.get_running_loop()
    delay = first_delay
    try:
        while True:
            begun = loop.time()
            recovered = loop.call_later(SETTLED_SECONDS, process.failed_tasks.pop, name, None)
            try:
                await run()
                error: BaseException | None = None
            except asyncio.CancelledError as raised:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                error = raised
            except BaseException as raised:
                # SystemExit and KeyboardInterrupt too: the process ends by signals, not by what a task raises.
                error = raised
            finally:
                recovered.cancel()
            process.failed_tasks[name] = f"{type(error).__name__}: {error}" if error is not None else "it ended"
            process.metrics.add(TASK_RESTARTS, name)
            if loop.time() - begun > longest_delay:
                delay = first_delay
            logger.error("task '%s' failed and restarts in %.1f s", name, delay, exc_info=error)
            await asyncio.sleep(delay * random.uniform(0.8, 1.0))
            delay = min(delay * 2, longest_delay)
    finally:
        process.failed_tasks.pop(name, None)
