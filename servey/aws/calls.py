"""Calls of actions that are no requests: direct ones, schedules, an action's function of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from servey.actions import Action
from servey.context import Transport
from servey.errors import ServeyError
from servey.invoke import Stream, invoke
from servey.runtime import Runtime
from servey.web import as_action_error


class CallFailed(ServeyError):
    """A call that failed, for a caller who reads Lambda's errors: its text is the error's JSON body's detail and code."""


async def call_directly(runtime: Runtime, wanted: Mapping[str, Any], request_id: str) -> Any:
    """What ``{"servey": {"action": NAME, "params": {...}}}`` gives: the result as JSON.

    Whoever may invoke the function is trusted, as the operator on the command line is.
    Errors: CallFailed.
    """
    name, params = wanted.get("action"), wanted.get("params")
    trigger = wanted.get("trigger")
    if not isinstance(name, str) or not isinstance(params, Mapping | None):
        raise CallFailed('a direct call is {"servey": {"action": NAME, "params": {...}}}')
    if name not in runtime.catalog:
        raise CallFailed(f"there is no action '{name}'")
    return await call(runtime, runtime.catalog[name], params or {}, request_id, scheduled=trigger is not None)


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


async def as_json(action: Action, result: Any) -> Any:
    """An action's result as a JSON value; what streams is collected."""
    if isinstance(result, Stream):
        return [_plain(action, item) async for item in result]
    return _plain(action, result)


def _plain(action: Action, value: Any) -> Any:
    if action.result is None:
        raise CallFailed(f"action '{action.name}' makes whole HTTP answers; call it over HTTP")
    return action.result.dump_python(value, mode="json", by_alias=True)
