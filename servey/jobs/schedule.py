"""Compute when schedules are due; pure functions that never read the clock.

A slot is a time at which a schedule is due, in milliseconds since 1970-01-01 UTC. Every process computes the same slots.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from servey.calls.enqueue import why_no_job
from servey.core.actions import Action
from servey.core.errors import ConfigError
from servey.core.triggers import CronTrigger, FixedRateTrigger

if TYPE_CHECKING:
    from servey.runtime.runtime import Runtime


@dataclass(frozen=True)
class Schedule:
    """An action with one of its schedule triggers; ``name`` is the same in every process."""

    name: str
    action: Action
    trigger: FixedRateTrigger | CronTrigger

    def slot_after(self, moment_ms: int) -> int:
        """Return the first slot later than a time; never that time itself."""
        return slot_after(self.trigger, moment_ms)


def slot_after(trigger: FixedRateTrigger | CronTrigger, moment_ms: int) -> int:
    """Return the first time, later than this one, at which a trigger is due.

    A cron expression means local time. When clocks go forward, times in the skipped hour are due right after it. When
    clocks go back, times in the repeated hour are due once, unless the expression matches every hour or minute.
    """
    if isinstance(trigger, FixedRateTrigger):
        interval_ms = round(trigger.interval * 1000)
        return (moment_ms // interval_ms + 1) * interval_ms
    from cronsim import CronSim

    moment = datetime.fromtimestamp(moment_ms / 1000, UTC).astimezone(ZoneInfo(trigger.timezone))
    return round(next(CronSim(trigger.expression, moment)).timestamp() * 1000)


def schedules_of(runtime: Runtime) -> list[Schedule]:
    """Return every schedule of an app. Errors: ConfigError with one line for each schedule that cannot run."""
    found: list[Schedule] = []
    problems: list[str] = []
    for action in runtime.catalog:
        for number, trigger in enumerate(triggers_of(action)):
            try:
                check_schedule(runtime, action, trigger)
            except ConfigError as error:
                problems += error.problems
            found.append(Schedule(action.name if number == 0 else f"{action.name}#{number}", action, trigger))
    if problems:
        raise ConfigError(problems)
    return found


def check_schedule(runtime: Runtime, action: Action, trigger: FixedRateTrigger | CronTrigger) -> None:
    """Check that a schedule can call an action: without parameters and without a caller. Errors: ConfigError."""
    needed = [param.name for param in action.signature.client if param.required]
    if needed:
        raise action.problem("is called by a schedule, which passes no parameters; add a default", needed[0])
    plan = runtime.plan(action)
    if plan.needs_token:
        raise action.problem("is called by a schedule, which has no authorization; annotate it 'Authorization | None'")
    reason = why_no_job(plan)
    if reason is not None and not action.signature.streams:
        raise action.problem(f"cannot be called by a schedule: {reason}")
    if isinstance(trigger, CronTrigger):
        _check_expression(action, trigger)


def _check_expression(action: Action, trigger: CronTrigger) -> None:
    from cronsim import CronSim, CronSimError

    try:
        next(CronSim(trigger.expression, datetime.now(UTC)))
    except (CronSimError, StopIteration) as error:
        raise action.problem(f"{trigger!r} is never due: {error or 'no such day exists'}") from None


def trigger_text(trigger: FixedRateTrigger | CronTrigger) -> str:
    """Return a schedule trigger as text for people."""
    if isinstance(trigger, FixedRateTrigger):
        return f"every {trigger.interval:g} s"
    zone = "" if trigger.timezone == "UTC" else f" {trigger.timezone}"
    return f"cron {trigger.expression}{zone}"


def triggers_of(action: Action) -> Iterable[FixedRateTrigger | CronTrigger]:
    """Return the schedule triggers of an action."""
    return (each for each in action.triggers if isinstance(each, FixedRateTrigger | CronTrigger))
