"""Calls of actions that are no requests: direct ones, schedules, an action's function of its own."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from servey.actions import Action
from servey.aws.table import Item, table_of
from servey.context import Transport
from servey.errors import ServeyError
from servey.invoke import Stream, invoke
from servey.runtime import Runtime
from servey.web import as_action_error

T = TypeVar("T")

logger = logging.getLogger("servey")

_MARGIN_SECONDS = 5
_KEPT_SECONDS = 24 * 3600


class CallFailed(ServeyError):
    """A call that failed, for a caller who reads Lambda's errors: its text is the error's JSON body's detail and code."""


async def call_directly(runtime: Runtime, wanted: Mapping[str, Any], request_id: str) -> Any:
    """What ``{"servey": {"action": NAME, "params": {...}}}`` gives: the result as JSON.

    Whoever may invoke the function is trusted, as the operator on the command line is.
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
    """Whether a scheduled call may begin: once for each moment, and not while the one before it still runs.

    EventBridge calls twice now and then, and again after an error.
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
        logger.warning("a scheduled call of action '%s' is left out, since the one before it still runs", action.name)
        yield False
        return
    try:
        yield True
    finally:
        await table.delete(pk, "running")


async def call(
    runtime: Runtime, action: Action, params: Mapping[str, Any], request_id: str, *, scheduled: bool = False
) -> Any:
    """Calls an action as somebody trusted, and gives its result as JSON.

    Errors: CallFailed; an exception that no one expected, as it is.
    """
    injection = runtime.plan(action).injection
    if injection is not None and injection.requests_needed:
        raise CallFailed(f"action '{action.name}' can only be called over HTTP: it needs {injection.requests_needed}")
    via: Transport = "schedule" if scheduled else "lambda"
    try:
        async with runtime.context(via, trusted=True, request_id=request_id) as context:
            return await as_json(action, await invoke(action, params, context))
    except Exception as error:
        known = as_action_error(error)
        if known is None:
            raise
        raise CallFailed(f"{known} ({known.code})") from None


async def within(seconds: float | None, work: Awaitable[T]) -> T:
    """What comes of it, unless the function's time is over before. Errors: CallFailed."""
    try:
        async with asyncio.timeout(seconds) as limit:
            return await work
    except TimeoutError:
        if not limit.expired():
            raise
        raise CallFailed("The function's time is over before the call is (timeout)") from None


async def as_json(action: Action, result: Any) -> Any:
    """An action's result as a JSON value; what streams is collected."""
    if isinstance(result, Stream):
        return [_plain(action, item) async for item in result]
    return _plain(action, result)


def _plain(action: Action, value: Any) -> Any:
    if action.result is None:
        raise CallFailed(f"action '{action.name}' makes whole HTTP answers; call it over HTTP")
    return action.result.dump_python(value, mode="json", by_alias=True)
