"""Runs schedules: each slot once, whatever the number of processes that run this."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from servey.invoke import Stream, invoke
from servey.jobs.schedule import Schedule
from servey.metrics import SCHEDULE_LAG, SCHEDULED
from servey.triggers import FixedRateTrigger
from servey.web import known_error

if TYPE_CHECKING:
    from servey.runtime import Runtime

logger = logging.getLogger("servey")

_LONGEST_NAP = 60
_LONGEST_HOLD = 15.0


class Slots(Protocol):
    """Gives every slot of every schedule away once, and none while the schedule's last run goes on."""

    def take(self, schedule: str, slot_ms: int, hold: float) -> AbstractAsyncContextManager[bool]:
        """Whether a slot is the caller's to run: until it leaves the block, the schedule counts as running.

        Units: ``hold`` in seconds: how long that is still so when the process dies.
        """
        ...


class LocalSlots:
    """Slots for one process."""

    def __init__(self) -> None:
        self._running: set[str] = set()

    @asynccontextmanager
    async def take(self, schedule: str, slot_ms: int, hold: float) -> AsyncIterator[bool]:
        """Whether the schedule is not running already."""
        if schedule in self._running:
            yield False
            return
        self._running.add(schedule)
        try:
            yield True
        finally:
            self._running.discard(schedule)


async def run_schedules(runtime: Runtime, schedules: list[Schedule], slots: Slots) -> None:
    """Runs schedules until it is cancelled; then the runs that have begun are cancelled too."""
    async with asyncio.TaskGroup() as group:
        for schedule in schedules:
            group.create_task(_run(runtime, schedule, slots, group))


async def _run(runtime: Runtime, schedule: Schedule, slots: Slots, group: asyncio.TaskGroup) -> None:
    moment_ms = _now_ms()
    while True:
        slot_ms = schedule.slot_after(moment_ms)
        await _until(slot_ms)
        # Slots that were slept through, by a process that was stopped or a loop that was blocked, are skipped.
        moment_ms = max(slot_ms, _last_slot(schedule, _now_ms()))
        group.create_task(_run_slot(runtime, schedule, moment_ms, slots))


async def _until(moment_ms: int) -> None:
    # A long sleep would not hear of a clock that is put right meanwhile.
    while (left := moment_ms / 1000 - time.time()) > 0:  # noqa: ASYNC110 - time is what is waited for
        await asyncio.sleep(min(left, _LONGEST_NAP))


def _last_slot(schedule: Schedule, moment_ms: int) -> int:
    """The last slot up to a moment, where that is cheap to say; else the moment's own second."""
    if isinstance(schedule.trigger, FixedRateTrigger):
        interval_ms = round(schedule.trigger.interval * 1000)
        return moment_ms // interval_ms * interval_ms
    return 0


async def _run_slot(runtime: Runtime, schedule: Schedule, slot_ms: int, slots: Slots) -> None:
    action = schedule.action
    try:
        async with slots.take(schedule.name, slot_ms, _hold_of(schedule)) as taken:
            if not taken:
                return
            runtime.metrics.observe(SCHEDULE_LAG, max(0.0, time.time() - slot_ms / 1000), action.name)
            outcome = "failed"
            async with runtime.context("schedule", trusted=True) as context:
                try:
                    result = await invoke(action, {}, context)
                    if isinstance(result, Stream):
                        async for _ in result:
                            pass
                    outcome = "done"
                except Exception as error:
                    known = known_error(error, context.request_id, action.name)
                    logger.error(
                        "schedule '%s' failed in its slot %d: %s",
                        schedule.name,
                        slot_ms,
                        known,
                        extra={"request_id": context.request_id, "action": action.name},
                    )
                finally:
                    runtime.metrics.add(SCHEDULED, action.name, outcome)
    except Exception:
        # A schedule goes on, whatever has become of one slot.
        logger.exception("schedule '%s' could not run its slot %d", schedule.name, slot_ms)


def _hold_of(schedule: Schedule) -> float:
    """How long a run counts as going on after its process has died: not over the next slot, if it can be helped."""
    if isinstance(schedule.trigger, FixedRateTrigger):
        return min(0.9 * schedule.trigger.interval, _LONGEST_HOLD)
    return _LONGEST_HOLD


def _now_ms() -> int:
    return int(time.time() * 1000)
