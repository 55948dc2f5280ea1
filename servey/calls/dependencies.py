"""FastAPI's dependency injection for actions, with the same order and clean-up on every transport.

Dependencies open, the function runs, ``scope="function"`` dependencies close, the response is sent (or the result is
used), background tasks run, the other ``yield`` dependencies close.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from anyio import CancelScope

from servey.calls.deadline import Deadline
from servey.calls.graph import Call, Graph
from servey.calls.injection import Injection
from servey.calls.resources import Resources, unwind
from servey.calls.steps import resume_coroutine
from servey.core.context import Context
from servey.core.errors import ServeyError

logger: logging.Logger = logging.getLogger("servey")


async def call_with_dependencies(injection: Injection, context: Context, call: Call, *, timeout: float) -> Any:
    """Open an action's dependencies and call it; they stay open until the call's resources are closed.

    Everything runs in the caller's own task, so context variables flow as in FastAPI, unless another task closes the
    resources. A thread cannot be cancelled: after a timeout the dependencies of a plain ``def`` stay open until it returns.
    Errors: RequestValidationError for an invalid header, cookie or form field of a request, InvalidParams if there is no
    request; TimeoutError after the context's deadline.
    """
    resources: Resources = context.resources
    graph = injection.graph(getattr(resources.app, "dependency_overrides", None), in_http=resources.has_request)
    if not resources.has_request:
        resources.use_empty_request()
    if not graph.has_exits:
        step = graph.run(resources, call)
    elif resources.closes_elsewhere:
        return await _call_in_own_task(graph, context, call, timeout)
    else:
        resources.on_close(lambda: _close(resources))
        step = _call(graph, context, call)
    # The first step runs before a timer is armed: a call that does not wait needs none.
    try:
        waits_for = step.send(None)
    except StopIteration as done:
        return done.value
    with Deadline(timeout, context.deadline):
        return await resume_coroutine(step, waits_for)


class SwallowedError(ServeyError):
    """The call failed and a ``yield`` dependency swallowed the error, so there is no result to return."""

    def __init__(self) -> None:
        super().__init__("a dependency swallowed an error of the call; re-raise the exceptions that it catches")


async def _call(graph: Graph, context: Context, call: Call) -> Any:
    """Open dependencies, call, and close those of scope ``function``; after an error close all of them."""
    resources: Resources = context.resources
    result: Any = None
    try:
        result = await graph.run(resources, call)
        left = await unwind(resources.function_exits, None) if resources.function_exits else None
    except BaseException as error:
        if resources.thread == "running" and isinstance(error, asyncio.CancelledError):
            exits = resources.detach()
            if exits is not None:
                context.runtime.keep(asyncio.create_task(_close_after_thread(exits, resources)))
                raise
            with CancelScope(shield=True):
                await resources.wait_for_thread()
        left = await unwind(resources.function_exits, error) or _swallowed(error)
        if left is error and not resources.request_exits:
            raise
    if left is None:
        return result
    raise await unwind(resources.request_exits, left) or _swallowed(left)


async def _close_after_thread(exits: list[Any], resources: Resources) -> None:
    await resources.wait_for_thread()
    left = await unwind(exits, None)
    if left is not None:
        logger.error("a dependency failed while it closed after a timeout", exc_info=left)


def _swallowed(error: BaseException) -> SwallowedError:
    made = SwallowedError()
    made.__cause__ = error
    return made


async def _close(resources: Resources) -> None:
    """Run background tasks, then close the dependencies that are still open."""
    failure = resources.failure
    try:
        await resources.run_background()
    except BaseException as error:
        failure = error
    left = await unwind(resources.request_exits, failure)
    if left is not None and left is not resources.failure:
        raise left


async def _call_in_own_task(graph: Graph, context: Context, call: Call, timeout: float) -> Any:
    # One task opens and closes them: some must be closed by the task that opened them, and they have to outlive a
    # cancelled caller whose thread still runs.
    resources: Resources = context.resources
    kept = _Kept(graph, context, call)
    context.runtime.keep(kept.task)
    resources.on_close(kept.close)
    try:
        with Deadline(timeout, context.deadline):
            return await asyncio.shield(kept.outcome)
    except (TimeoutError, asyncio.CancelledError):
        if not kept.outcome.done():
            kept.abandoned = True
            kept.task.cancel()
            await asyncio.wait({kept.task})
        raise


class _Kept:
    """The task that holds the dependencies of one call open."""

    def __init__(self, graph: Graph, context: Context, call: Call) -> None:
        loop = asyncio.get_running_loop()
        self.outcome: asyncio.Future[Any] = loop.create_future()
        self.abandoned = False
        self._answered = asyncio.Event()
        self.task = loop.create_task(self._run(graph, context, call))

    async def _run(self, graph: Graph, context: Context, call: Call) -> None:
        try:
            result = await _call(graph, context, call)
        except BaseException as error:
            self.outcome.set_exception(error)
            # Mark the exception as retrieved, because a cancelled caller never reads it.
            self.outcome.exception()
            return
        if not self.abandoned:
            self.outcome.set_result(result)
            await self._answered.wait()
        await _close(context.resources)

    async def close(self) -> None:
        self._answered.set()
        if not self.abandoned:
            await asyncio.shield(self.task)
