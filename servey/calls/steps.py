"""Resumes a coroutine whose first step was run by hand; one that never waits needs no timer and no task."""

from __future__ import annotations

import types
from collections.abc import Generator
from typing import Any


@types.coroutine
def resume_coroutine(step: Any, waits_for: Any) -> Generator[Any, Any, Any]:
    """Await a coroutine that ``step.send(None)`` started; ``waits_for`` is what that returned."""
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
