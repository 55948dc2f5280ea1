"""The time of day that an app goes by.

What is due at a time of day uses the app's `Clock`: jobs, schedules, tokens, cached results. What takes some seconds, such
as the timeout of a call, uses the event loop's time, which nobody can set.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

_LONGEST_NAP = 60.0
"""A long sleep would not notice that the system clock was changed."""


class Clock:
    """The system's time, unless a test sets it; see `servey.testing.set_clock`.

    Shape: ``alarms`` are all that were not cancelled yet; ``running`` counts the runs of schedules that have not ended,
    ``jumps`` how often the clock was set to another time, so that schedules compute their next slot again.
    """

    def __init__(self) -> None:
        self.alarms: set[Alarm] = set()
        self.running: int = 0
        self.jumps: int = 0
        self._held: float | None = None

    @property
    def held(self) -> float | None:
        """The time at which the clock is held, or None while it follows the system's time."""
        return self._held

    def hold(self, moment: float | None, *, jumps: bool = False) -> None:
        """Hold the clock at a time, or let it follow the system's time again. Alarms that are due ring; all of them if the
        clock ``jumps``, instead of time passing.
        """
        self._held = moment
        self.jumps += jumps
        for alarm in list(self.alarms):
            alarm.check_soon()

    @property
    def is_at_rest(self) -> bool:
        """Whether every alarm that rang was noticed, and no run of a schedule is going on."""
        return not self.running and not any(alarm.rings for alarm in self.alarms)

    def now(self) -> float:
        """Return the time in seconds since 1970."""
        return time.time() if self._held is None else self._held

    def alarm(self, moment: float, ring: Callable[[], None]) -> Alarm:
        """Call ``ring`` on the running event loop at a time, and if the clock jumps. The caller cancels each alarm."""
        return Alarm(self, moment, ring)

    def ended_run(self) -> None:
        """Count a run of a schedule as ended."""
        self.running -= 1

    async def sleep_until(self, moment: float) -> None:
        """Return at a time, at once if it has passed, or if the clock jumps."""
        rung = asyncio.Event()
        alarm = self.alarm(moment, rung.set)
        try:
            await rung.wait()
        finally:
            alarm.cancel()


class Alarm:
    """One call at a time of day; `Clock.alarm` makes it."""

    def __init__(self, clock: Clock, moment: float, ring: Callable[[], None]) -> None:
        self.moment = moment
        self._clock = clock
        self._jumps = clock.jumps
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        clock.alarms.add(self)
        self._set_timer()

    @property
    def rings(self) -> bool:
        """Whether it is time, or the clock has jumped."""
        is_time = self._clock.now() >= self.moment or self._clock.jumps != self._jumps
        return is_time and not self._loop.is_closed()

    def check_soon(self) -> None:
        """Look at the clock again; from any thread. Nothing happens if the alarm's event loop has ended."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._check)

    def cancel(self) -> None:
        """Do not ring any more."""
        self._clock.alarms.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def _check(self) -> None:
        if self not in self._clock.alarms:
            return
        if self.rings:
            self._ring()
        else:
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        left = self.moment - self._clock.now()
        if left <= 0 or self._clock.held is None:
            self._timer = self._loop.call_later(min(max(0.0, left), _LONGEST_NAP), self._check)
