"""Deadlines of calls: as `asyncio.timeout`, with one timer for all calls of the same timeout.

Nearly every call ends before its deadline, so arming and cancelling a timer for each of them is most of what a timeout
costs. Calls of one timeout reach their deadlines in the order in which they start: they wait in a queue, whose head has
the timer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary

from servey.calls.steps import resume_coroutine
from servey.core.actions import Action
from servey.core.context import Context
from servey.core.errors import ActionTimeout, Overloaded


class Deadline:
    """Cancels the current task after ``timeout`` seconds, and raises TimeoutError instead; a context manager."""

    __slots__ = ("_cancelling", "_expired", "_task", "_timeout", "_when")

    def __init__(self, timeout: float, when: float | None) -> None:
        assert when is not None
        self._timeout = timeout
        self._when = when
        self._task: asyncio.Task[object] | None = None
        self._expired = False
        self._cancelling = 0

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        loop = task.get_loop()
        _queue_of(loop, self._timeout).add(self, loop)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if self._expired:
            assert task is not None
            if task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
                raise TimeoutError from error

    @property
    def is_over(self) -> bool:
        """Whether the block has been left."""
        return self._task is None

    @property
    def when(self) -> float:
        """The deadline on the event loop's clock."""
        return self._when

    def expire(self) -> None:
        """Cancel the task."""
        if self._task is not None:
            self._expired = True
            self._task.cancel()


_SWEEP_FROM = 1024


class _Queue:
    """The deadlines of one timeout, the next one first."""

    # It keeps no reference to its event loop, so that a closed loop can be collected.
    def __init__(self) -> None:
        self._waiting: deque[Deadline] = deque()
        self._is_armed = False
        self._sweep_at = _SWEEP_FROM

    def add(self, deadline: Deadline, loop: asyncio.AbstractEventLoop) -> None:
        waiting = self._waiting
        while waiting and waiting[0].is_over:
            waiting.popleft()
        if len(waiting) >= self._sweep_at:
            # Calls that have ended wait behind a long one at the head.
            waiting = self._waiting = deque(each for each in waiting if not each.is_over)
            self._sweep_at = max(_SWEEP_FROM, 2 * len(waiting))
        waiting.append(deadline)
        if not self._is_armed:
            self._is_armed = True
            loop.call_at(deadline.when, self._expire)

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        waiting = self._waiting
        while waiting and (waiting[0].is_over or waiting[0].when <= now):
            waiting.popleft().expire()
        self._is_armed = bool(waiting)
        if waiting:
            loop.call_at(waiting[0].when, self._expire)


_queues: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[float, _Queue]] = WeakKeyDictionary()


def _queue_of(loop: asyncio.AbstractEventLoop, timeout: float) -> _Queue:
    queues = _queues.get(loop)
    if queues is None:
        queues = _queues[loop] = {}
    queue = queues.get(timeout)
    if queue is None:
        queue = queues[timeout] = _Queue()
    return queue


def over_time(error: TimeoutError, action: Action, context: Context) -> Exception:
    """Map a TimeoutError inside a call; one that the function raised itself is unchanged."""
    if context.deadline is None or context.deadline > asyncio.get_running_loop().time():
        return error
    if context.holds_resources and context.resources.thread == "waiting":
        return Overloaded("No worker thread became free in time")
    return ActionTimeout(action.timeout)


async def resume_with_deadline(step: Any, waits_for: Any, action: Action, context: Context) -> Any:
    """Await a coroutine that has already started, until the call's deadline."""
    try:
        with Deadline(action.timeout, context.deadline):
            return await resume_coroutine(step, waits_for)
    except TimeoutError as error:
        raise over_time(error, action, context) from None


async def await_with_deadline(awaitable: Coroutine[Any, Any, Any], action: Action, context: Context) -> Any:
    """Await a coroutine that a plain function returned, until the call's deadline."""
    try:
        # It starts long after the call, so it cannot wait in a queue that is sorted by starts.
        async with asyncio.timeout_at(context.deadline):
            return await awaitable
    except TimeoutError as error:
        raise over_time(error, action, context) from None
