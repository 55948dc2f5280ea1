"""Reading resources and prompts: calls whose failure is an error of the protocol, and how long a result is fresh."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from servey.calls.invoke import Plan
from servey.core.cache import TtlCacheControl
from servey.core.context import Context
from servey.core.errors import InvalidParams, NotFound
from servey.mcp.calls import CallFailed, Exchange, call_action
from servey.mcp.kinds.prompts import Prompt
from servey.mcp.kinds.resources import Resource
from servey.mcp.messages import INTERNAL_ERROR, INVALID_PARAMS, RESOURCE_NOT_FOUND, ProtocolError, Request
from servey.mcp.questions import check_asked
from servey.mcp.results import failure_text


async def called(
    offered: Resource | Prompt,
    params: Mapping[str, Any],
    request: Request,
    exchange: Exchange,
    render: Callable[[Any], Awaitable[bytes]],
) -> bytes:
    """Call an action whose failure is an error of the protocol. Errors: ProtocolError, and those of `call_action`."""
    try:
        return await call_action(offered.plan, params, exchange, render)
    except CallFailed as failed:
        error = failed.error
        check_asked(error, request)
        code, status = INTERNAL_ERROR, 200
        if isinstance(error, InvalidParams) or (isinstance(error, NotFound) and request.is_modern):
            code, status = INVALID_PARAMS, 400
        elif isinstance(error, NotFound):
            code = RESOURCE_NOT_FOUND
        text = failure_text(error, exchange.context.request_id)
        raise ProtocolError(code, text, data={"code": error.code}, status=status) from failed


def freshness_of(plan: Plan, context: Context) -> dict[str, Any]:
    """Return how long clients may keep what they read, by the action's cache control and the age of a cached result.

    The protocol has no ``Vary``: what depends on headers of the request is not kept.
    """
    control = plan.action.cache_control
    reads_request = plan.injection is not None and plan.injection.vary_of(context.runtime.app) != ()
    if not isinstance(control, TtlCacheControl) or reads_request:
        return {"ttlMs": 0, "cacheScope": "private"}
    age = 0.0 if context.made_at is None else max(0.0, context.runtime.clock.now() - context.made_at)
    left = max(0.0, min(control.ttl - age, 31_536_000))
    return {"ttlMs": int(left * 1000), "cacheScope": "private" if control.private else "public"}
