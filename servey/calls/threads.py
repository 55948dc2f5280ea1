"""Worker threads for plain ``def`` actions: a bounded pool that keeps count of overdue calls.

All threads take calls from one queue. Results are collected, and the event loop is woken once for all results that are
ready. A running thread takes one short call after another; another thread is woken only for calls that are still waiting
after a few iterations of the event loop.
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
from servey.core.errors import Overloaded

IDLE_SECONDS = 10
"""The idle timeout of a thread."""
ITERATIONS = 3
"""How many event-loop iterations a call waits for a running thread before another one is woken."""


class _Job:
    """One call that waits for or runs in a thread."""

    __slots__ = ("call", "context", "future", "is_overdue", "scope", "started", "unclaimed")

    def __init__(self, call: Callable[[], Any], started: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        self.call = call
        self.started = started
        self.context: Context = copy_context()
        self.future: asyncio.Future[Any] = loop.create_future()
        self.scope = compat.CancelScope()
        # Holds one element. The thread that starts the job or the caller that cancels it removes it, atomically.
        self.unclaimed = [True]
        self.is_overdue = False

    def claim(self) -> bool:
        try:
            return self.unclaimed.pop()
        except IndexError:
            return False


class Threads:
    """A bounded pool of worker threads for one event loop.

    A cancelled call occupies its thread until its function returns, because Python cannot stop a thread.
    ``anyio.from_thread`` works in these threads; ``check_cancelled()`` raises if the call was cancelled.
    """

    def __init__(self, limit: int) -> None:
        self.overdue: int = 0
        self.busy: int = 0
        self._limit = limit
        self._count = 0
        self._running = 0
        self._wakeups: SimpleQueue[None] = SimpleQueue()
        self._wake_scheduled = False
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._done: deque[tuple[_Job, Any, BaseException | None]] = deque()
        self._delivery_scheduled = False

    async def run(self, call: Callable[[], Any], started: Callable[[], None]) -> Any:
        """Run a blocking call in a worker thread with this task's context variables; ``started`` is called when the
        thread starts it. A call that is cancelled before that never runs.

        Errors: Overloaded while every thread is occupied by an overdue call.
        """
        if self.overdue >= self._limit:
            raise Overloaded("Every worker thread is occupied by an overdue call")
        job = _Job(call, started, asyncio.get_running_loop())
        self.busy += 1
        self._jobs.put(job)
        with self._lock:
            if self._running == 0:
                self._wake(job.future.get_loop())
            elif not self._wake_scheduled:
                self._wake_scheduled = True
                job.future.get_loop().call_soon(self._wake_for_waiting, ITERATIONS)
        try:
            return await job.future
        except asyncio.CancelledError:
            job.scope.cancel()
            if job.future.cancelled() and not job.claim():
                job.is_overdue = True
                self.overdue += 1
            raise

    def _wake(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Wake or start one more thread; return False at the limit. The caller holds the lock."""
        if self._running < self._count:
            self._wakeups.put(None)
        elif self._count < self._limit:
            self._count += 1
            threading.Thread(target=self._work, args=(loop,), name="servey worker", daemon=True).start()
        else:
            return False
        self._running += 1
        return True

    def _wake_for_waiting(self, iterations: int) -> None:
        """Wake threads for jobs that still wait after a few iterations; runs on the event loop."""
        loop = asyncio.get_running_loop()
        with self._lock:
            waiting = self._jobs.qsize()
            if waiting and iterations:
                loop.call_soon(self._wake_for_waiting, iterations - 1)
                return
            self._wake_scheduled = False
            while waiting and self._wake(loop):
                waiting -= 1

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run one job after another; the target of each thread."""
        with compat.register_worker_thread(loop):
            while (job := self._next()) is not None:
                result: Any = None
                error: BaseException | None = None
                if job.claim():
                    compat.set_scope(job.scope)
                    try:
                        result = job.context.run(_run_job, job)
                    except StopIteration as raised:
                        error = RuntimeError("the function raised StopIteration")
                        error.__cause__ = raised
                    except BaseException as raised:
                        error = raised
                    compat.set_scope(None)
                self._done.append((job, result, error))
                del job, result, error
                if not self._delivery_scheduled:
                    self._delivery_scheduled = True
                    try:
                        loop.call_soon_threadsafe(self._deliver)
                    except RuntimeError:
                        return  # the event loop is closed, so nobody waits

    def _next(self) -> _Job | None:
        """Return the next job, or None after the idle timeout."""
        while True:
            try:
                return self._jobs.get_nowait()
            except Empty:
                if not self._wait_for_work():
                    return None

    def _wait_for_work(self) -> bool:
        """Wait until this thread is woken; return False after the idle timeout, so that the thread can exit."""
        with self._lock:
            if not self._jobs.empty():
                return True
            self._running -= 1
        try:
            self._wakeups.get(timeout=IDLE_SECONDS)
        except Empty:
            with self._lock:
                if self._wakeups.empty():
                    self._count -= 1
                    return False
                self._wakeups.get()
        return True

    def _deliver(self) -> None:
        """Deliver all results that are ready; runs on the event loop."""
        self._delivery_scheduled = False
        while self._done:
            job, result, error = self._done.popleft()
            self.busy -= 1
            if job.is_overdue:
                self.overdue -= 1
            elif job.future.cancelled():
                pass  # it was cancelled before it started
            elif error is not None:
                job.future.set_exception(error)
            else:
                job.future.set_result(result)


def _run_job(job: _Job) -> Any:
    compat.forget_library()
    job.started()
    return job.call()
