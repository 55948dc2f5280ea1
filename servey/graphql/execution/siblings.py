"""Runs sibling calls concurrently, with as few tasks as they need: calls that never wait share one.

A task for each call costs more than most methods do. A task runs one call after another; when a call waits, up to ten
more tasks start, which continue with the calls that are left. Each call runs in its own copy of the context, and is the
only one that its task runs at the time, so that timeouts and cancel scopes inside it work as in a task of its own.
"""

from __future__ import annotations

import asyncio
import types
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextvars import copy_context
from time import monotonic
from typing import Any

import anyio

_STARTS = 10
"""How many tasks start in one iteration of the event loop."""
_SLICE_SECONDS = 0.001
"""How long a task runs calls that never wait before other tasks run."""


class Siblings:
    """Calls that run concurrently; all of them finish, even if one fails.

    Shape: ``results`` and ``errors`` are by position; ``errors`` has the failed calls only.
    """

    def __init__(self, calls: Iterable[Awaitable[Any]]) -> None:
        self._waiting = deque(enumerate(calls))
        self._left = len(self._waiting)
        self._starting = 0
        self._creates = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.results: list[Any] = [None] * self._left
        self.errors: dict[int, BaseException] = {}

    async def finish(self, stop: Callable[[], None]) -> None:
        """Run all calls. When cancelled, call ``stop``, cancel the running calls and wait until all have ended.

        Calls that have not started then start, since a coroutine that never does is reported as a bug; ``stop`` must make
        them fail at once.
        """
        self._start(1)
        try:
            await self._finished
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):
                stop()
                tasks = list(self._tasks)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await self._run()
            raise

    def _start(self, count: int) -> None:
        for _ in range(min(count, len(self._waiting))):
            self._starting += 1
            self._creates = True
            task = asyncio.create_task(self._run_new())
            self._creates = False
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run_new(self) -> None:
        if self._creates:
            await asyncio.sleep(0)  # eager tasks would start one inside of the other
        self._starting -= 1
        await self._run()

    async def _run(self) -> None:
        until = monotonic() + _SLICE_SECONDS
        while self._waiting:
            position, call = self._waiting.popleft()
            try:
                self.results[position] = await self._call(call)
            except BaseException as error:
                self.errors[position] = error
            self._left -= 1
            if self._waiting and monotonic() >= until:
                await asyncio.sleep(0)
                until = monotonic() + _SLICE_SECONDS
        if not self._left and not self._finished.done():
            self._finished.set_result(None)

    @types.coroutine
    def _call(self, call: Awaitable[Any]) -> Generator[Any, Any, Any]:
        coroutine = call if isinstance(call, types.CoroutineType) else _awaited(call)
        run = copy_context().run
        try:
            waits_for = run(coroutine.send, None)
            if self._waiting and not self._starting:
                self._start(_STARTS)
            while True:
                try:
                    value = yield waits_for
                except GeneratorExit:
                    run(coroutine.close)
                    raise
                except BaseException as error:
                    waits_for = run(coroutine.throw, error)
                else:
                    waits_for = run(coroutine.send, value)
        except StopIteration as done:
            return done.value


async def _awaited(call: Awaitable[Any]) -> Any:
    return await call
