"""When schedules are due: arithmetic of slots, without a clock.

A slot is a moment at which a schedule is due, in milliseconds since 1970-01-01 UTC. Every process computes the same ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from servey.actions import Action
from servey.enqueue import why_no_job
from servey.errors import ConfigError
from servey.triggers import CronTrigger, FixedRateTrigger

if TYPE_CHECKING:
    from servey.runtime import Runtime


@dataclass(frozen=True)
class Schedule:
    """An action with one of its triggers; ``name`` is the same in every process."""

    name: str
    action: Action
    trigger: FixedRateTrigger | CronTrigger

    def slot_after(self, moment_ms: int) -> int:
        """The first slot after a moment: the moment itself is never one."""
        return slot_after(self.trigger, moment_ms)


def slot_after(trigger: FixedRateTrigger | CronTrigger, moment_ms: int) -> int:
    """The first moment after this one at which a trigger is due.

    A cron expression speaks of the clock on the wall. Where that is put forward, what it says of the lost hour happens
    right after it; where it is put back, what it says of the hour that comes twice happens once, unless it says every
    hour or every minute.
    """
    if isinstance(trigger, FixedRateTrigger):
        interval_ms = round(trigger.interval * 1000)
        return (moment_ms // interval_ms + 1) * interval_ms
    from cronsim import CronSim

    moment = datetime.fromtimestamp(moment_ms / 1000, UTC).astimezone(ZoneInfo(trigger.timezone))
    return round(next(CronSim(trigger.expression, moment)).timestamp() * 1000)


def schedules_of(runtime: Runtime) -> list[Schedule]:
    """Every schedule of an app. Errors: ConfigError that lists those that can not be."""
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
    """Makes sure that an action can be called at a time, by nobody. Errors: ConfigError."""
    needed = [param.name for param in action.signature.client if param.required]
    if needed:
        raise action.problem("is called by a schedule, which gives no parameters; give it a default", needed[0])
    plan = runtime.plan(action)
    if plan.needs_token:
        raise action.problem("is called by a schedule, which has no authorization; take 'Authorization | None'")
    reason = why_no_job(plan)
    if reason is not None and not action.signature.streams:
        raise action.problem(f"can not be called by a schedule: {reason}")
    if isinstance(trigger, CronTrigger):
        _check_expression(action, trigger)


def _check_expression(action: Action, trigger: CronTrigger) -> None:
    from cronsim import CronSim, CronSimError

    try:
        next(CronSim(trigger.expression, datetime.now(UTC)))
    except (CronSimError, StopIteration) as error:
        raise action.problem(f"{trigger!r} never comes: {error or 'there is no such day'}") from None


def trigger_text(trigger: FixedRateTrigger | CronTrigger) -> str:
    """How a schedule shows itself to people."""
    if isinstance(trigger, FixedRateTrigger):
        return f"every {trigger.interval:g} s"
    zone = "" if trigger.timezone == "UTC" else f" {trigger.timezone}"
    return f"cron {trigger.expression}{zone}"


def triggers_of(action: Action) -> Iterable[FixedRateTrigger | CronTrigger]:
    """The triggers of an action that are schedules."""
    return (each for each in action.triggers if isinstance(each, FixedRateTrigger | CronTrigger))
