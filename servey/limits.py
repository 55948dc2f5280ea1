"""What keeps one caller from using up a process: bounded error reports, bounded bodies, bounded calls in flight."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from servey.errors import ActionError, Overloaded, TooLarge

MAX_ERRORS = 100
MAX_LISTED_ERRORS = 50_000
MAX_INPUT_CHARACTERS = 200


def readable_errors(error: ValidationError) -> list[dict[str, Any]]:
    """What is wrong with an input, as FastAPI reports it: at most 100 errors, with long inputs shortened.

    Shape: ``[{"type", "loc", "msg", "input", "ctx"?}]``, all of it JSON.
    """
    count = error.error_count()
    if count > MAX_LISTED_ERRORS:
        # pydantic lists all of its errors or none, and the list of a million mistakes takes seconds to make.
        return [{"type": "too_many_errors", "loc": [], "msg": f"The input has {count} errors", "input": None}]
    return [readable_error(item) for item in error.errors(include_url=False)[:MAX_ERRORS]]


def readable_error(item: Any) -> dict[str, Any]:
    """One of pydantic's errors as JSON, with a long input shortened."""
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
    text = value if isinstance(value, str) else None
    if isinstance(value, bytes | bytearray):
        text = bytes(value[: MAX_INPUT_CHARACTERS + 1]).decode(errors="replace")
    elif isinstance(value, dict | list | tuple | set | frozenset) and len(value) > MAX_INPUT_CHARACTERS:
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
    text = text.encode("utf-8", "replace").decode()  # a lone surrogate can not be sent
    return text if len(text) <= MAX_INPUT_CHARACTERS else text[:MAX_INPUT_CHARACTERS] + "..."


class InFlight:
    """Counts the calls that run in this process, and refuses those over the limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.count = 0

    @contextmanager
    def one_more(self) -> Iterator[Callable[[], None]]:
        """Holds a place for one call; what it gives lets the place go early. Errors: Overloaded."""
        if self.count >= self.limit:
            raise Overloaded()
        self.count += 1
        held = True

        def let_go() -> None:
            nonlocal held
            if held:
                held = False
                self.count -= 1

        try:
            yield let_go
        finally:
            let_go()


def check_length(length: str | None, limit_bytes: int) -> None:
    """Refuses a body that is said to be too large. Errors: TooLarge."""
    if length is not None and length.isdigit() and int(length[:20]) > limit_bytes:
        raise TooLarge(limit_bytes)


async def read_body(chunks: AsyncIterator[bytes], *, length: str | None, limit_bytes: int, timeout: float) -> bytes:
    """A request's body, as long as it is within its limits; ``length`` is what the client says of it.

    Errors: TooLarge before more than the limit is read; ActionError 408 for a client that is too slow.
    """
    check_length(length, limit_bytes)
    parts: list[bytes] = []
    total = 0
    try:
        async with asyncio.timeout(timeout):
            async for chunk in chunks:
                total += len(chunk)
                if total > limit_bytes:
                    raise TooLarge(limit_bytes)
                parts.append(chunk)
    except TimeoutError:
        raise ActionError(408, "http_408", f"The request body did not arrive within {timeout:g} s") from None
    return b"".join(parts)
