"""Run schedules: each slot once, however many processes run this."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from servey.calls.invoke import invoke
from servey.calls.outcomes import Stream
from servey.calls.supervise import supervise
from servey.core.context import Context
from servey.core.errors import ActionError, ServeyError
from servey.core.triggers import FixedRateTrigger
from servey.http.errors import known_error
from servey.jobs.runs import Outcome, RecordsRuns, Run, this_process
from servey.jobs.schedule import Schedule
from servey.observability.metrics import SCHEDULE_LAG, SCHEDULED

if TYPE_CHECKING:
    from servey.runtime.runtime import Runtime

logger: logging.Logger = logging.getLogger("servey")

_LONGEST_HOLD = 15.0
_LONGEST_ERROR = 300

Grant: TypeAlias = Literal["granted", "overlaps", "refused"]
"""Whether a process may run a slot. ``overlaps``: no process may, since the run before is still going on. ``refused``:
another process has it, the schedule is paused, or nobody knows.
"""


class Slots(Protocol):
    """Grants each slot of a schedule at most once, and no slot while the schedule's previous run is still running."""

    def take(self, schedule: str, slot_ms: int, hold: float, longest: float) -> AbstractAsyncContextManager[Grant]:
        """Yield whether the caller may run a slot; the schedule counts as running until the block ends.

        Units: ``hold`` in seconds: how long it still counts as running after the process has died; ``longest`` in seconds:
        how long it does while the event loop is blocked.
        """
        ...


class LocalSlots:
    """Slots for a single process. Shape: ``skipped`` are the schedules that are paused now."""

    def __init__(self, skipped: Collection[str] = ()) -> None:
        self._skipped = skipped
        self._running: set[str] = set()

    @asynccontextmanager
    async def take(self, schedule: str, slot_ms: int, hold: float, longest: float) -> AsyncIterator[Grant]:
        """Yield whether the schedule is neither running already nor paused."""
        if schedule in self._running or schedule in self._skipped:
            yield "refused" if schedule in self._skipped else "overlaps"
            return
        self._running.add(schedule)
        try:
            yield "granted"
        finally:
            self._running.discard(schedule)


async def run_schedules(runtime: Runtime, schedules: list[Schedule], slots: Slots) -> None:
    """Run schedules until cancelled; runs that have begun are cancelled too."""
    async with asyncio.TaskGroup() as group:
        for schedule in schedules:
            group.create_task(
                supervise(f"schedule {schedule.name}", lambda each=schedule: _run(runtime, each, slots, group), runtime)  # type: ignore[misc]
            )


async def _run(runtime: Runtime, schedule: Schedule, slots: Slots, group: asyncio.TaskGroup) -> None:
    clock = runtime.clock
    moment_ms = int(clock.now() * 1000)
    while True:
        slot_ms, jumps = schedule.slot_after(moment_ms), clock.jumps
        await clock.sleep_until(slot_ms / 1000)
        if clock.jumps != jumps:
            moment_ms = int(clock.now() * 1000)
            continue
        # Slots that passed while the process was stopped or its loop blocked are skipped.
        moment_ms = max(slot_ms, _last_slot(schedule, int(clock.now() * 1000)))
        clock.running += 1
        run = group.create_task(_run_slot(runtime, schedule, moment_ms, slots))
        run.add_done_callback(lambda _: clock.ended_run())


def _last_slot(schedule: Schedule, moment_ms: int) -> int:
    """Return the last slot up to a time if that is cheap to compute, otherwise 0."""
    if isinstance(schedule.trigger, FixedRateTrigger):
        interval_ms = round(schedule.trigger.interval * 1000)
        return moment_ms // interval_ms * interval_ms
    return 0


async def _run_slot(runtime: Runtime, schedule: Schedule, slot_ms: int, slots: Slots) -> None:
    action = schedule.action
    longest = action.timeout + runtime.settings.job_grace
    try:
        async with slots.take(schedule.name, slot_ms, _hold_of(schedule), longest) as grant:
            began = runtime.clock.now()
            if grant == "granted":
                runtime.metrics.observe(SCHEDULE_LAG, max(0.0, began - slot_ms / 1000), action.name)
                async with runtime.context("schedule", trusted=True) as context:
                    error = await _call(runtime, schedule, slot_ms, context)
                await _record(runtime, schedule, slot_ms, began, "done" if error is None else "failed", error)
            elif grant == "overlaps":
                await _record(runtime, schedule, slot_ms, began, "skipped")
    except Exception:
        # An error in one slot must not stop the schedule.
        logger.exception("schedule '%s' could not run its slot %d", schedule.name, slot_ms)


async def _record(
    runtime: Runtime, schedule: Schedule, slot_ms: int, began: float, outcome: Outcome, error: ActionError | None = None
) -> None:
    """Record a slot for those who look after the app, if the queue can."""
    queue, ended = runtime.queue, runtime.clock.now()
    text = "" if error is None else str(error)[:_LONGEST_ERROR]
    if isinstance(queue, RecordsRuns):
        with suppress(ActionError):  # the queue does not answer, and has said so
            await queue.record_run(schedule.name, Run(slot_ms / 1000, began, ended, outcome, text, this_process()))


async def _call(runtime: Runtime, schedule: Schedule, slot_ms: int, context: Context) -> ActionError | None:
    """Call the action of a schedule; return the error with which it failed."""
    action = schedule.action
    outcome, known = "failed", None
    try:
        result = await invoke(action, {}, context)
        if isinstance(result, Stream):
            async for _ in result:
                pass
        outcome = "done"
    except (asyncio.CancelledError, GeneratorExit):
        raise
    except BaseException as raised:
        error = raised
        if not isinstance(error, Exception):
            # sys.exit() in a schedule ends its run and not the process.
            error = ServeyError(f"the schedule raised {raised!r}")
            error.__cause__ = raised
        known = known_error(error, runtime, context.request_id, action.name, "schedule")
        logger.error(
            "schedule '%s' failed in its slot %d: %s",
            schedule.name,
            slot_ms,
            known,
            extra={"request_id": context.request_id, "action": action.name},
        )
    finally:
        runtime.metrics.add(SCHEDULED, action.name, outcome)
    # A plain function that exceeds its timeout keeps running in its thread; the next run must not overlap with it.
    await context.resources.wait_for_thread()
    return known


def _hold_of(schedule: Schedule) -> float:
    """Return how long a run counts as going on after its process has died: if possible less than an interval."""
    if isinstance(schedule.trigger, FixedRateTrigger):
        return min(0.9 * schedule.trigger.interval, _LONGEST_HOLD)
    return _LONGEST_HOLD
