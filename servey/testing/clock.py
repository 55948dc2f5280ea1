"""A clock that a test sets, so that what is due later happens at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from math import inf

from servey.app import Servey
from servey.core.errors import ServeyError
from servey.core.messages import Submitted
from servey.jobs.memory import MemoryQueue
from servey.runtime.runtime import Runtime

_POLL_SECONDS = 0.001
_FIRST_STEPS = 10
"""Turns of the event loop after which what the app has just started, such as its schedules, waits for its time."""
_ROUNDING_SECONDS = 1e-6
"""Sums of the same times in another order differ by less."""


class SettableClock:
    """The clock of an app during a test: it stands still until the test advances it."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @property
    def now(self) -> datetime:
        """The time that the app goes by, in UTC."""
        return datetime.fromtimestamp(self._runtime.clock.now(), UTC)

    def advance(
        self, by: timedelta | None = None, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0
    ) -> Submitted[None]:
        """Let time pass: whatever becomes due happens, in order and each at its own time, before this returns.

        In an ``async`` test, await it. A job that is due meanwhile and enqueues another one, or is retried, counts too.
        Errors: ServeyError for a negative time.
        """
        passed = (by or timedelta()) + timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        return self._advance_to(self._runtime.clock.now() + passed.total_seconds())

    def advance_to(self, moment: datetime) -> Submitted[None]:
        """Let time pass until a moment; see `advance`. Errors: ServeyError for one in the past, or without a time zone."""
        return self._advance_to(_timestamp(moment))

    def _advance_to(self, target: float) -> Submitted[None]:
        runtime = self._runtime
        if target < runtime.clock.now():
            raise ServeyError(f"the clock cannot go back from {self.now} to {datetime.fromtimestamp(target, UTC)}")
        if runtime.is_running:
            return runtime.submit(lambda: _pass(runtime, target))
        runtime.clock.hold(target)
        done: Submitted[None] = Submitted()
        done.value = None
        return done


@contextmanager
def set_clock(app: Servey, at: datetime | None = None) -> Iterator[SettableClock]:
    """Hold the clock of an app while the block runs: at a moment, by default now.

    Jobs, schedules, tokens and cached results go by it; the code of actions, timeouts of calls and Redis do not.
    Errors: ServeyError for an app with Redis, and for a moment without a time zone.
    """
    runtime = app.runtime
    if runtime.settings.redis_url is not None:
        raise ServeyError("set_clock: the jobs of this app are in Redis, which has its own clock; test without Redis")
    clock, before = runtime.clock, runtime.clock.held
    clock.hold(clock.now() if at is None else _timestamp(at), jumps=True)
    try:
        yield SettableClock(runtime)
    finally:
        clock.hold(before, jumps=True)


async def _pass(runtime: Runtime, target: float) -> None:
    """Set the clock to each moment at which something is due, and at last to ``target``."""
    clock = runtime.clock
    for _ in range(_FIRST_STEPS):
        await asyncio.sleep(0)
    await _at_rest(runtime)
    last = target + _ROUNDING_SECONDS
    while (first := min((each.moment for each in clock.alarms if each.moment > clock.now()), default=inf)) <= last:
        clock.hold(first)
        await _at_rest(runtime)
    clock.hold(max(target, clock.now()))


async def _at_rest(runtime: Runtime) -> None:
    """Wait until everything that is due has happened."""
    clock, queue = runtime.clock, runtime.queue
    while (  # noqa: ASYNC110 - a test may wait actively, so that an app need not say what it has finished
        not clock.is_at_rest or (isinstance(queue, MemoryQueue) and not queue.is_at_rest)
    ):
        await asyncio.sleep(_POLL_SECONDS)


def _timestamp(moment: datetime) -> float:
    if moment.tzinfo is None:
        raise ServeyError(f"{moment!r} has no time zone; write datetime(..., tzinfo=UTC)")
    return moment.timestamp()
