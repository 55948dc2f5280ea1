"""Taking a coroutine's first step by hand: one that does not wait needs no timer, and no task of its own."""

from __future__ import annotations

import types
from collections.abc import Generator
from typing import Any


@types.coroutine
def rest_of(step: Any, waits_for: Any) -> Generator[Any, Any, Any]:
    """Awaits a coroutine that ``step.send(None)`` has begun, and that gave ``waits_for`` then."""
    while True:
        try:
            yield waits_for
        except GeneratorExit:
            step.close()
            raise
        except BaseException as error:
            try:
                waits_for = step.throw(error)
            except StopIteration as done:
                return done.value
        else:
            return (yield from step.__await__())
