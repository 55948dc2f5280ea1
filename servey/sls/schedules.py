"""Convert schedule triggers to EventBridge expressions."""

from __future__ import annotations

from servey.core.actions import Action
from servey.core.triggers import CronTrigger, FixedRateTrigger

_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]


def expression_of(action: Action, trigger: FixedRateTrigger | CronTrigger) -> str:
    """Return the schedule expression of a trigger.

    Source: EventBridge user guide, "Schedule expressions".
    Errors: ConfigError for a schedule that EventBridge does not support.
    """
    if isinstance(trigger, FixedRateTrigger):
        return _rate(action, trigger)
    if trigger.timezone != "UTC":
        raise action.problem(f"{trigger!r} cannot be deployed: EventBridge rules are in UTC; write the hours in UTC")
    try:
        return _cron(trigger.expression)
    except ValueError as error:
        raise action.problem(f"{trigger!r} cannot be deployed: {error}") from None


def _rate(action: Action, trigger: FixedRateTrigger) -> str:
    minutes, rest = divmod(trigger.interval, 60)
    if minutes < 1 or rest:
        raise action.problem(
            f"FixedRateTrigger({trigger.interval:g}) cannot be deployed: EventBridge supports whole minutes only; "
            f"use {max(1, round(trigger.interval / 60)) * 60} seconds"
        )
    return f"rate({minutes:g} minute{'s' if minutes > 1 else ''})"


def _cron(expression: str) -> str:
    minute, hour, day, month, weekday = expression.split()
    if day != "*" and weekday != "*":
        raise ValueError("EventBridge supports a day of the month or a day of the week, not both")
    days = _field(weekday, 0, 7, _DAYS)
    weekdays = sorted({number % 7 for number in days})
    fields = [
        _written(_field(minute, 0, 59), 60),
        _written(_field(hour, 0, 23), 24),
        "?" if weekday != "*" else _written(_field(day, 1, 31), 31),
        _written(_field(month, 1, 12, ["", *_MONTHS]), 12),
        "?" if weekday == "*" else ",".join(_DAYS[number] for number in weekdays),
        "*",
    ]
    return f"cron({' '.join(fields)})"


def _written(numbers: list[int], whole: int) -> str:
    return "*" if len(numbers) == whole else ",".join(map(str, numbers))


def _field(text: str, least: int, most: int, names: list[str] | None = None) -> list[int]:
    """Return every number that a cron field matches."""
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, dash, last = span.partition("-")
        if span == "*":
            begin, end = least, most
        else:
            begin = _number(first, names)
            end = _number(last, names) if dash else most if step else begin
        if not (least <= begin <= end <= most) or (step and not (step.isdigit() and int(step))):
            raise ValueError(f"'{part}' is not between {least} and {most}")
        found |= set(range(begin, end + 1, int(step or 1)))
    return sorted(found)


def _number(text: str, names: list[str] | None) -> int:
    if names is not None and text.upper() in names:
        return names.index(text.upper())
    if not text.isdigit():
        raise ValueError(f"'{text}' is not a number")
    return int(text)
