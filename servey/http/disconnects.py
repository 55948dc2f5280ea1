"""Cancels a call whose client has disconnected."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from types import CoroutineType
from typing import TypeVar

from starlette.types import Receive

from servey.calls.steps import resume_coroutine
from servey.core.errors import ActionError
from servey.core.queues import CancelRequest

T = TypeVar("T")


async def cancelled_on_disconnect(call: Awaitable[T], receive: Receive, request: CancelRequest | None = None) -> T:
    """Await a call in this task, and cancel it when the client disconnects; the body must have been read.

    A plain ``def``, which cannot be cancelled, reads ``request``.
    Errors: ActionError with status 499, for the log; those of the call.
    """
    if isinstance(call, CoroutineType):
        try:
            waits_for = call.send(None)
        except StopIteration as done:
            result: T = done.value  # it never waited, so nothing has to watch
            return result
        call = resume_coroutine(call, waits_for)
    task = asyncio.current_task()
    assert task is not None
    is_gone = False

    async def watch() -> None:
        nonlocal is_gone
        while (await receive())["type"] != "http.disconnect":
            pass
        is_gone = True
        if request is not None:
            request.set()
        task.cancel()

    before = task.cancelling()
    watching = asyncio.create_task(watch())
    try:
        return await call
    except asyncio.CancelledError:
        if is_gone and task.uncancel() <= before:
            raise ActionError(499, "client_disconnected", "The client disconnected") from None
        raise
    finally:
        watching.cancel()
