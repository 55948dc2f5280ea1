"""Worker threads for plain ``def`` actions: bounded, and honest about calls that are over time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import anyio.to_thread

from servey.errors import Overloaded


class Threads:
    """A bounded number of worker threads.

    A call that is given up on keeps its thread, and its place, until its function returns: Python has no way to end a
    thread.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._limiter = anyio.CapacityLimiter(limit)
        self._overdue = 0

    async def run(self, call: Callable[[], Any], started: Callable[[], None]) -> Any:
        """Runs a blocking call in a worker thread, with this task's context variables; ``started`` is told once it has
        one. Cancelled before that, it never runs.

        Errors: Overloaded while every thread is held by a call that is over its time.
        """
        if self._overdue >= self._limit:
            raise Overloaded("Every worker thread is held by a call that is over its time")
        running = False

        def work() -> Any:
            nonlocal running
            running = True
            started()
            return call()

        task = asyncio.ensure_future(anyio.to_thread.run_sync(work, limiter=self._limiter))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not running:
                task.cancel()
            elif not task.done():
                self._overdue += 1
                task.add_done_callback(self._returned)
            raise

    def _returned(self, task: asyncio.Task[Any]) -> None:
        self._overdue -= 1
        if not task.cancelled():
            task.exception()  # nobody waits for it any more
