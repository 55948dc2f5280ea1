"""Worker threads for plain ``def`` actions: bounded, cheap, and honest about calls that are over time.

A call goes into one queue that all threads take from. What they are done with they put aside, and the loop is woken once
for as many results as there are by then, not once for each. A thread that is awake takes one short call after another;
others are woken for those that it has not come to within a few turns of the loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from queue import Empty, SimpleQueue
from typing import Any

from servey.compat import anyio as compat
from servey.errors import Overloaded

IDLE_SECONDS = 10
"""How long a thread waits for the next call before it ends."""
TURNS = 3
"""How many turns of the loop a call waits for a thread that is awake."""


class _Job:
    """One call on its way through a thread."""

    __slots__ = ("call", "context", "future", "is_overdue", "scope", "started", "unclaimed")

    def __init__(self, call: Callable[[], Any], started: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        self.call = call
        self.started = started
        self.context: Context = copy_context()
        self.future: asyncio.Future[Any] = loop.create_future()
        self.scope = compat.CancelScope()
        # Whoever takes the one element away, the thread or the caller that gives up, has it.
        self.unclaimed = [True]
        self.is_overdue = False

    def claim(self) -> bool:
        try:
            return self.unclaimed.pop()
        except IndexError:
            return False


class Threads:
    """A bounded number of worker threads, of one event loop.

    A call that is given up on keeps its thread, and its place, until its function returns: Python has no way to end a
    thread. ``anyio.from_thread`` works in them, ``check_cancelled()`` tells a function that it was given up on.
    """

    def __init__(self, limit: int) -> None:
        self.overdue = 0
        self.busy = 0
        self._limit = limit
        self._count = 0
        self._awake = 0
        self._tickets: SimpleQueue[None] = SimpleQueue()
        self._is_looking = False
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._done: deque[tuple[_Job, Any, BaseException | None]] = deque()
        self._is_told = False

    async def run(self, call: Callable[[], Any], started: Callable[[], None]) -> Any:
        """Runs a blocking call in a worker thread, with this task's context variables; ``started`` is told once it has
        one. Cancelled before that, it never runs.

        Errors: Overloaded while every thread is held by a call that is over its time.
        """
        if self.overdue >= self._limit:
            raise Overloaded("Every worker thread is held by a call that is over its time")
        job = _Job(call, started, asyncio.get_running_loop())
        self.busy += 1
        self._jobs.put(job)
        with self._lock:
            if self._awake == 0:
                self._wake(job.future.get_loop())
            elif not self._is_looking:
                self._is_looking = True
                job.future.get_loop().call_soon(self._look, TURNS)
        try:
            return await job.future
        except asyncio.CancelledError:
            job.scope.cancel()
            if job.future.cancelled() and not job.claim():
                job.is_overdue = True
                self.overdue += 1
            raise

    def _wake(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Has one more thread take jobs; whether there was one more. The lock is held."""
        if self._awake < self._count:
            self._tickets.put(None)
        elif self._count < self._limit:
            self._count += 1
            threading.Thread(target=self._work, args=(loop,), name="servey worker", daemon=True).start()
        else:
            return False
        self._awake += 1
        return True

    def _look(self, turns: int) -> None:
        """Wakes threads for the jobs that none has come to; runs on the loop."""
        loop = asyncio.get_running_loop()
        with self._lock:
            waiting = self._jobs.qsize()
            if waiting and turns:
                loop.call_soon(self._look, turns - 1)
                return
            self._is_looking = False
            while waiting and self._wake(loop):
                waiting -= 1

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """What a thread does: one job after another."""
        with compat.claimed(loop):
            while (job := self._next()) is not None:
                result: Any = None
                error: BaseException | None = None
                if job.claim():
                    compat.set_scope(job.scope)
                    try:
                        result = job.context.run(_called, job)
                    except StopIteration as raised:
                        error = RuntimeError("the function raised StopIteration")
                        error.__cause__ = raised
                    except BaseException as raised:
                        error = raised
                    compat.set_scope(None)
                self._done.append((job, result, error))
                del job, result, error
                if not self._is_told:
                    self._is_told = True
                    try:
                        loop.call_soon_threadsafe(self._deliver)
                    except RuntimeError:
                        return  # the loop has ended, and nobody waits any more

    def _next(self) -> _Job | None:
        """The next job; None where there was none for so long that the thread may end."""
        while True:
            try:
                return self._jobs.get_nowait()
            except Empty:
                if not self._sleep():
                    return None

    def _sleep(self) -> bool:
        """Waits until this thread is woken; False where nothing has for so long that it may end."""
        with self._lock:
            if not self._jobs.empty():
                return True
            self._awake -= 1
        try:
            self._tickets.get(timeout=IDLE_SECONDS)
        except Empty:
            with self._lock:
                if self._tickets.empty():
                    self._count -= 1
                    return False
                self._tickets.get()
        return True

    def _deliver(self) -> None:
        """Hands the results over that there are by now; runs on the loop."""
        self._is_told = False
        while self._done:
            job, result, error = self._done.popleft()
            self.busy -= 1
            if job.is_overdue:
                self.overdue -= 1
            elif job.future.cancelled():
                pass  # it was given up on before it began
            elif error is not None:
                job.future.set_exception(error)
            else:
                job.future.set_result(result)


def _called(job: _Job) -> Any:
    compat.forget_library()
    job.started()
    return job.call()
