"""The errors of a 422 response: Pydantic's validation errors in FastAPI's format, limited in number and size."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_jsonable_python

MAX_ERRORS = 100
MAX_LISTED_ERRORS = 50_000
MAX_INPUT_CHARACTERS = 200
MAX_ITEMS_TOGETHER = 1000


def without_inputs(error: Exception) -> str:
    """Return an error's text for the log, without the values that a validation error quotes: they may be secrets."""
    if not isinstance(error, ValidationError):
        return str(error)
    if error.error_count() > MAX_LISTED_ERRORS:
        return f"it has {error.error_count()} errors"
    found = error.errors(include_url=False, include_context=False, include_input=False)[:3]
    return "; ".join(f"{'.'.join(map(str, each['loc'])) or 'value'}: {each['msg']}" for each in found)


def readable_errors(error: ValidationError) -> list[dict[str, Any]]:
    """Return validation errors in FastAPI's format: at most 100, with long inputs shortened.

    Shape: ``[{"type", "loc", "msg", "input", "ctx"?}]``, all of it JSON.
    """
    count = error.error_count()
    if count > MAX_LISTED_ERRORS:
        # pydantic can only build the whole list, which takes seconds for a million errors.
        return [{"type": "too_many_errors", "loc": [], "msg": f"The input has {count} errors", "input": None}]
    return [readable_error(item) for item in error.errors(include_url=False)[:MAX_ERRORS]]


def readable_error(item: Any) -> dict[str, Any]:
    """Return one validation error as JSON, with a long input shortened."""
    shown: dict[str, Any] = {
        "type": item["type"],
        "loc": [_shortened(part) for part in item["loc"]],
        "msg": item["msg"],
        "input": None if item["type"] == "missing" and len(item["loc"]) < 2 else _shortened(item.get("input")),
    }
    if "ctx" in item:
        shown["ctx"] = {name: _shortened(value) for name, value in item["ctx"].items()}
    return shown


def _shortened(value: Any) -> Any:
    """Return a value as JSON, or a short text if it is long. The time it takes does not depend on the value's size."""
    text = value if isinstance(value, str) else None
    if isinstance(value, bytes | bytearray):
        text = bytes(value[: MAX_INPUT_CHARACTERS + 1]).decode(errors="replace")
    elif _is_larger(value, MAX_INPUT_CHARACTERS):
        return f"<{type(value).__name__} of {len(value)}>"
    elif text is None:
        if isinstance(value, int) and value.bit_length() > 600:
            return f"<integer of {value.bit_length()} bits>"
        try:
            plain = to_jsonable_python(value, fallback=str, inf_nan_mode="strings")
            text = str(plain)
        except Exception:
            return f"<{type(value).__name__}>"
        if len(text) <= MAX_INPUT_CHARACTERS:
            return plain
    text = text[: MAX_INPUT_CHARACTERS + 1].encode("utf-8", "replace").decode()  # a lone surrogate cannot be encoded
    return text if len(text) <= MAX_INPUT_CHARACTERS else text[:MAX_INPUT_CHARACTERS] + "..."


def holds_many(value: Any) -> bool:
    """Whether an input holds more than 1,000 items, so that pydantic must stop at the first invalid one of each list."""
    if type(value) is dict and len(value) <= MAX_ITEMS_TOGETHER:
        for each in value.values():
            if isinstance(each, _CONTAINERS):
                break
        else:
            return False  # nearly every input
    count, waiting = 0, [value]
    while waiting and count <= MAX_ITEMS_TOGETHER:
        each = waiting.pop()
        if isinstance(each, dict | list | tuple | set | frozenset):
            count += len(each)
            if count <= MAX_ITEMS_TOGETHER:
                waiting.extend(each.values() if isinstance(each, dict) else each)
    return count > MAX_ITEMS_TOGETHER


def _is_larger(value: Any, limit: int) -> bool:
    """Whether a container holds more than ``limit`` items and characters in total, at any depth."""
    if not isinstance(value, _CONTAINERS):
        return False
    waiting: list[Any] = [value]
    count = 0
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            count += len(each)
            parts: Iterable[Any] = chain.from_iterable(each.items()) if count <= limit else ()
        elif isinstance(each, _CONTAINERS):
            count += len(each)
            parts = each if count <= limit else ()
        else:
            count += len(each) if isinstance(each, str | bytes | bytearray) else 0
            parts = ()
        if count > limit:
            return True
        waiting.extend(parts)
    return False


_CONTAINERS = (dict, list, tuple, set, frozenset)
