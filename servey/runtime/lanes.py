"""Runs submitted work in order within a lane. Lanes do not wait for each other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar

from servey.calls.steps import resume_coroutine
from servey.core.errors import ActionError, Overloaded
from servey.core.messages import Finished

logger: logging.Logger = logging.getLogger("servey")

T = TypeVar("T")

OUTAGE_SECONDS = 1.0
"""Work that fails with Overloaded after this time was waiting for a part that does not answer."""

_turns: ContextVar[tuple[object, ...]] = ContextVar("servey.turns", default=())


class _Lane:
    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.members = 0
        self.failed_at = float("-inf")


class Lanes:
    """The lanes of one event loop. A lane exists while it has work."""

    def __init__(self) -> None:
        self._lanes: dict[str, _Lane] = {}
        self._active: set[object] = set()

    async def run(self, name: str | None, work: Callable[[], Awaitable[T]]) -> T:
        """Run ``work`` after the work that was submitted to the same lane before; without a lane, at once.

        Work that is submitted from within a lane runs at once, so that no work waits for itself. If a part does not answer,
        the work that waits in the same lane fails together with the first, instead of one timeout after the other.
        Errors: Overloaded; whatever ``work`` raises.
        """
        if name is None or not self._active.isdisjoint(_turns.get()):
            return await work()
        lane = self._lanes.setdefault(name, _Lane())
        loop = asyncio.get_running_loop()
        submitted_at = loop.time()
        lane.members += 1
        try:
            async with lane.lock:
                if lane.failed_at > submitted_at:
                    raise Overloaded("The event bus or the queue does not answer; try again shortly")
                return await self._take_turn(lane, work)
        finally:
            lane.members -= 1
            if not lane.members:
                del self._lanes[name]

    def begin(
        self, name: str, work: Callable[[], Awaitable[T]]
    ) -> Finished[T] | tuple[Coroutine[Any, Any, T], Context]:
        """Run the first step of `run` without a task: ``work`` must not depend on the current task until it waits.

        Shape: what has to run in a task and its context, unless the work is finished.
        """
        context = copy_context()
        is_free = name not in self._lanes
        step = _awaiting(work) if is_free else self.run(name, work)
        try:
            waits_for = context.run(step.send, None)
            if is_free:  # but it waits, so others have to wait for it
                rest = _finish(step, waits_for)
                step = self.run(name, lambda: rest)
                waits_for = context.run(step.send, None)
        except StopIteration as done:
            return Finished(done.value)
        except Exception as error:
            return _fail(error), context
        return _finish(step, waits_for), context

    async def _take_turn(self, lane: _Lane, work: Callable[[], Awaitable[T]]) -> T:
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        turn = object()
        self._active.add(turn)
        token = _turns.set((*_turns.get(), turn))
        try:
            return await work()
        except Overloaded:
            if loop.time() - started_at >= OUTAGE_SECONDS:
                lane.failed_at = loop.time()
            raise
        finally:
            self._active.discard(turn)
            _turns.reset(token)


async def _awaiting(work: Callable[[], Awaitable[T]]) -> T:
    return await work()


async def _finish(step: Coroutine[Any, Any, T], waits_for: Any) -> T:
    found: T = await resume_coroutine(step, waits_for)
    return found


async def _fail(error: Exception) -> Any:
    raise error


def log_failure(task: asyncio.Task[Any]) -> None:
    """Log the error of submitted work: who submitted it may not await the result."""
    error = None if task.cancelled() else task.exception()
    if isinstance(error, ActionError):
        logger.error("publishing an event or enqueueing a job failed: %s", error)
    elif error is not None:
        logger.error("publishing an event or enqueueing a job failed", exc_info=error)
