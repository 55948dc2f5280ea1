"""Call actions from direct invocations, schedules and per-action functions."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from servey.aws.table import Item, table_of
from servey.calls.invoke import invoke
from servey.calls.outcomes import Stream
from servey.core.actions import Action
from servey.core.context import Transport
from servey.core.errors import ServeyError
from servey.http.errors import shown_error
from servey.runtime.runtime import Runtime

T = TypeVar("T")

logger: logging.Logger = logging.getLogger("servey")

_MARGIN_SECONDS = 5
_KEPT_SECONDS = 24 * 3600


class CallFailed(ServeyError):
    """A call failed. Lambda reports the text: the detail of the error and its code."""


async def call_directly(runtime: Runtime, wanted: Mapping[str, Any], request_id: str) -> Any:
    """Run ``{"servey": {"action": NAME, "params": {...}}}`` and return the result as JSON.

    The caller is trusted, like the operator on the command line: IAM decides who can invoke the function.
    Errors: CallFailed.
    """
    name, params = wanted.get("action"), wanted.get("params")
    if not isinstance(name, str) or not isinstance(params, Mapping | None):
        raise CallFailed('a direct call is {"servey": {"action": NAME, "params": {...}}}')
    if name not in runtime.catalog:
        raise CallFailed(f"there is no action '{name}'")
    action = runtime.catalog[name]
    if wanted.get("trigger") is None:
        return await call(runtime, action, params or {}, request_id)
    async with _slot(runtime, action, str(wanted.get("time") or "")) as free:
        return await call(runtime, action, params or {}, request_id, scheduled=True) if free else None


@asynccontextmanager
async def _slot(runtime: Runtime, action: Action, moment: str) -> AsyncIterator[bool]:
    """Yield whether a scheduled call may start: once for each slot, and not while an earlier call is still running.

    EventBridge delivers at least once, and Lambda retries after an error.
    """
    table = table_of(runtime.settings)
    if table is None:
        yield True
        return
    now = time.time()
    pk, until = f"schedule#{action.name}", now + action.timeout + _MARGIN_SECONDS
    mark: Item = {"pk": pk, "sk": f"at#{moment}", "expires_at": now + _KEPT_SECONDS}
    if moment and not await table.put(mark, unless_newer_than=now):
        yield False
        return
    if not await table.put({"pk": pk, "sk": "running", "expires_at": until}, unless_newer_than=now):
        logger.warning("a scheduled call of action '%s' was skipped: the previous one is still running", action.name)
        yield False
        return
    try:
        yield True
    finally:
        await table.delete(pk, "running")


async def call(
    runtime: Runtime, action: Action, params: Mapping[str, Any], request_id: str, *, scheduled: bool = False
) -> Any:
    """Call an action as a trusted caller and return its result as JSON.

    Errors: CallFailed; an unexpected exception is raised unchanged.
    """
    injection = runtime.plan(action).injection
    if injection is not None and injection.requests_needed:
        raise CallFailed(f"action '{action.name}' can only be called over HTTP: it needs {injection.requests_needed}")
    via: Transport = "schedule" if scheduled else "lambda"
    try:
        async with runtime.context(via, trusted=True, request_id=request_id) as context:
            return await as_json(action, await invoke(action, params, context))
    except Exception as error:
        known, is_unexpected = shown_error(error, runtime, request_id, via)
        if is_unexpected:
            raise
        raise CallFailed(f"{known} ({known.code})") from None


async def within(seconds: float | None, work: Awaitable[T]) -> T:
    """Await ``work``, for at most ``seconds``. Errors: CallFailed if the function's time is over first."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await work
    except TimeoutError:
        if not limit.expired():
            raise
        raise CallFailed("The Lambda function's timeout ended the call (timeout)") from None


async def as_json(action: Action, result: Any) -> Any:
    """Convert an action's result to a JSON value. The items of a stream are collected in a list."""
    if isinstance(result, Stream):
        return [_plain(action, item) async for item in result]
    return _plain(action, result)


def _plain(action: Action, value: Any) -> Any:
    if action.result is None:
        raise CallFailed(f"action '{action.name}' returns an HTTP response; call it over HTTP")
    return action.result.dump_python(value, mode="json", by_alias=True)
