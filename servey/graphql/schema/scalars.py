"""Custom scalars, with the same JSON as REST. Input is only type-checked here; the action's validator converts it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from pydantic_core import to_jsonable_python

DESCRIPTIONS = {
    "BigInt": "An integer of any size.",
    "Date": "A date, as in 2026-02-28.",
    "DateTime": "A date and time of ISO 8601, as in 2026-02-28T12:00:00Z.",
    "Decimal": "A decimal number as a string, exact.",
    "Duration": "A duration of ISO 8601, as in P1DT2H.",
    "JSON": "Any JSON.",
    "Time": "A time of day, as in 12:30:00.",
    "UUID": "A UUID, as in 12345678-1234-5678-1234-567812345678.",
    "Void": "Always null.",
}
"""The custom scalars and their descriptions."""

MARKERS: dict[str, Any] = {name: type(name, (), {}) for name in DESCRIPTIONS}
"""The class that represents each scalar in the annotations of the generated Strawberry classes."""


def _encoder_native(value: Any) -> Any:
    """Return a datetime, date or UUID unchanged, since the JSON encoder serializes it faster."""
    return value


def _time(value: Any) -> Any:
    if isinstance(value, dt.time):
        text = value.isoformat()
        return text[:-6] + "Z" if text.endswith("+00:00") else text
    return value


def _text(value: Any) -> str:
    return str(value)


def _integer(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"BigInt cannot represent a value of type {type(value).__name__}")
    return value


def _unchanged(value: Any) -> Any:
    return value


WRITERS: dict[str, Callable[[Any], Any]] = {
    "BigInt": _integer,
    "Date": _encoder_native,
    "DateTime": _encoder_native,
    "Decimal": _text,
    "Duration": to_jsonable_python,
    "JSON": _unchanged,
    "Time": _time,
    "UUID": _encoder_native,
    "Void": _unchanged,
}
"""The serializer of each custom scalar."""

_ACCEPTED: dict[str, tuple[type, ...]] = {
    "BigInt": (int, str),
    "Date": (str, int, float),
    "DateTime": (str, int, float),
    "Decimal": (str, int, float),
    "Duration": (str, int, float),
    "Time": (str, int, float),
    "UUID": (str,),
}


def reader_of(name: str) -> Callable[[Any], Any]:
    """Return the input parser of a scalar. Errors: the parser raises TypeError for a wrong type."""
    accepted = _ACCEPTED.get(name)
    if accepted is None:
        return _unchanged

    def read(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, accepted):
            raise TypeError(f"{name} must be {' or '.join(_JSON_NAMES[each] for each in accepted)}")
        return value

    return read


_JSON_NAMES = {str: "a string", int: "an integer", float: "a number"}
