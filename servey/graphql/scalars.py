"""Scalars whose JSON is that of REST. What comes in is only looked at: the action's own validator judges it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, NewType

from pydantic_core import to_jsonable_python

DESCRIPTIONS = {
    "BigInt": "A whole number of any size.",
    "Date": "A date, as in 2026-02-28.",
    "DateTime": "A date and time of ISO 8601, as in 2026-02-28T12:00:00Z.",
    "Decimal": "A decimal number as a string, exact.",
    "Duration": "A duration of ISO 8601, as in P1DT2H.",
    "JSON": "Any JSON.",
    "Time": "A time of day, as in 12:30:00.",
    "UUID": "A UUID, as in 12345678-1234-5678-1234-567812345678.",
    "Void": "Nothing: it is always null.",
}
"""The scalars that GraphQL does not have itself, with their descriptions."""

MARKERS: dict[str, Any] = {name: NewType(name, str) for name in DESCRIPTIONS}
"""What stands for each of them in a twin's annotations."""


def _moment(value: Any) -> Any:
    """A datetime, a date or a UUID as it is: whatever writes the JSON knows them, and is quicker at it."""
    return value


def _time(value: Any) -> Any:
    if isinstance(value, dt.time):
        text = value.isoformat()
        return text[:-6] + "Z" if text.endswith("+00:00") else text
    return value


def _text(value: Any) -> str:
    return str(value)


def _whole(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"a BigInt is a whole number, not {type(value).__name__}")
    return value


def _same(value: Any) -> Any:
    return value


WRITERS: dict[str, Callable[[Any], Any]] = {
    "BigInt": _whole,
    "Date": _moment,
    "DateTime": _moment,
    "Decimal": _text,
    "Duration": to_jsonable_python,
    "JSON": _same,
    "Time": _time,
    "UUID": _moment,
    "Void": _same,
}
"""How each of them is written."""

_TAKEN: dict[str, tuple[type, ...]] = {
    "BigInt": (int, str),
    "Date": (str, int, float),
    "DateTime": (str, int, float),
    "Decimal": (str, int, float),
    "Duration": (str, int, float),
    "Time": (str, int, float),
    "UUID": (str,),
}


def reader_of(name: str) -> Callable[[Any], Any]:
    """What looks at a value that is given for a scalar. Errors: TypeError for what can not be meant."""
    taken = _TAKEN.get(name)
    if taken is None:
        return _same

    def read(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, taken):
            raise TypeError(f"a {name} is given as {' or '.join(_JSON_NAMES[each] for each in taken)}")
        return value

    return read


_JSON_NAMES = {str: "a string", int: "a whole number", float: "a number"}
