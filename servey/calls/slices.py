"""Validates and serializes long lists in slices, so that other tasks run in between.

The values and the bytes are those of the whole list: only lists without constraints are split, whose items run no code of
the project while they are validated and serialized.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import chain
from math import inf
from time import monotonic
from typing import Any, TypeVar

from pydantic import ValidationError

from servey.calls.outcomes import checked
from servey.core.actions import Action
from servey.core.context import running_context

T = TypeVar("T")

MANY_ITEMS = 1000
"""A list of more items is split."""

_FIRST_ITEMS = 250
_MOST_ITEMS = 2000
"""The models of a larger slice would live long enough for the garbage collector to visit them, and all objects around."""

_SLICE_SECONDS = 0.004
_IN_TIME_SECONDS = 0.05
"""Other tasks run if the call has more time left than this: it must not end with a timeout when its function has ended."""


def is_long(action: Action, result: Any) -> bool:
    """Whether a result is validated and serialized in slices."""
    return type(result) is list and len(result) > MANY_ITEMS and action.splits_result


async def checked_in_slices(action: Action, values: list[Any]) -> list[Any]:
    """Return a validated copy of a result. Errors: ResultError."""
    assert action.result is not None
    validate, values = action.result.validator.validate_python, values.copy()
    try:
        parts = await _in_slices(values, lambda part: validate(part, from_attributes=True))
    except ValidationError:
        whole: list[Any] = checked(action, values)  # its error names the places in the whole list
        return whole
    return list(chain.from_iterable(parts or ()))


async def json_in_slices(
    action: Action, values: list[Any], encode: Callable[[Any], bytes | None] | None = None, *, is_valid: bool = False
) -> bytes:
    """Return the JSON of a result, which is validated before unless it ``is_valid``.

    ``encode`` returns the JSON of valid items, or None for others. Errors: ResultError.
    """
    assert action.result is not None
    validate, to_json = action.result.validator.validate_python, action.result.serializer.to_json
    values = values.copy()

    def write(part: list[Any]) -> bytes:
        items = part if is_valid else validate(part, from_attributes=True)
        return to_json(items, by_alias=True, warnings=False)

    parts = None if encode is None else await _in_slices(values, encode)
    if parts is None:
        try:
            parts = await _in_slices(values, write)
        except ValidationError:
            return to_json(checked(action, values), by_alias=True, warnings=False)
    return b"[" + b",".join(memoryview(part)[1:-1] for part in parts or ()) + b"]"


async def _in_slices(values: list[Any], work: Callable[[list[Any]], T | None]) -> list[T] | None:
    """Return what ``work`` returns for each slice, or None as soon as it returns None."""
    made: list[T] = []
    context = running_context()
    deadline = inf if context is None or context.deadline is None else context.deadline - _IN_TIME_SECONDS
    now = asyncio.get_running_loop().time
    start, size = 0, _FIRST_ITEMS
    while start < len(values):
        begun = monotonic()
        part = work(values[start : start + size])
        if part is None:
            return None
        made.append(part)
        start += size
        seconds = monotonic() - begun
        if seconds < _SLICE_SECONDS / 2:
            size = min(2 * size, _MOST_ITEMS)
        elif seconds > _SLICE_SECONDS:
            size = max(1, size // 2)
        if now() < deadline:
            await asyncio.sleep(0)
    return made
