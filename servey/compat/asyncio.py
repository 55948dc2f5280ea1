"""Runs a step of a coroutine on behalf of another task, as eager tasks of Python 3.12 do.

Source: asyncio/tasks.py of Python 3.11 to 3.14; "Extending" in the documentation of asyncio.
"""

from __future__ import annotations

import asyncio
from asyncio import tasks
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

try:
    _enter: Any = tasks._enter_task
    _leave: Any = tasks._leave_task
except AttributeError:
    raise ImportError("asyncio has no _enter_task() in this version of Python, which Servey does not support") from None


Step = Callable[[Coroutine[Any, Any, Any]], Any]
"""Runs the first step of a coroutine, and returns what it waits for. Errors: those of the coroutine; StopIteration if it is
finished.
"""


def steps_as(task: asyncio.Task[Any], context: Context) -> Step:
    """Return what the current task runs first steps with on behalf of another ``task``, which has to run the rest: in them,
    `asyncio.current_task` is that task.
    """
    loop, here, run = task.get_loop(), asyncio.current_task(), context.run

    def step_as(step: Coroutine[Any, Any, Any]) -> Any:
        _leave(loop, here)
        _enter(loop, task)
        try:
            return run(step.send, None)
        finally:
            _leave(loop, task)
            _enter(loop, here)

    return step_as
