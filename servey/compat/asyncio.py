"""Runs a step of a coroutine on behalf of another task, as eager tasks of Python 3.12 do.

Source: asyncio/tasks.py of Python 3.11 to 3.14; "Extending" in the documentation of asyncio.
"""

from __future__ import annotations

import asyncio
from asyncio import tasks
from collections.abc import Coroutine
from contextvars import Context
from typing import Any

try:
    _enter: Any = tasks._enter_task
    _leave: Any = tasks._leave_task
except AttributeError:
    raise ImportError("asyncio has no _enter_task() in this version of Python, which Servey does not support") from None


def step_as(task: asyncio.Task[Any], context: Context, step: Coroutine[Any, Any, Any]) -> Any:
    """Run the first step of a coroutine in the current task, in which `asyncio.current_task` is another ``task``, which has
    to run the rest. Errors: those of the coroutine; StopIteration if it is finished.
    """
    loop, here = task.get_loop(), asyncio.current_task()
    _leave(loop, here)
    _enter(loop, task)
    try:
        return context.run(step.send, None)
    finally:
        _leave(loop, task)
        _enter(loop, here)
