"""Runs submitted work in order within a lane. Lanes do not wait for each other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TypeVar

from servey.core.errors import Overloaded

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
