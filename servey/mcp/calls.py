"""Calls an action for a client, and tells a refused caller from a call that failed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.types import Receive, Scope

from servey.calls.invoke import Plan, invoke
from servey.calls.resources import Resources
from servey.compat.starlette import remember_body
from servey.core.access import required_scopes
from servey.core.context import Context
from servey.core.errors import ActionError, ActionTimeout, Forbidden, Unauthenticated
from servey.http.errors import known_error
from servey.http.web import exception_of
from servey.mcp.offers import may_call
from servey.mcp.progress import Progress
from servey.mcp.protected import InsufficientScope, TokenRequired
from servey.mcp.questions import Client, InputRequired

_MESSAGE_HEADERS = frozenset({b"content-type", b"content-length", b"transfer-encoding", b"cache-control"})
"""They describe the message of the protocol, and not the action's result in it."""


@dataclass
class Exchange:
    """One request of a client and what its call opened.

    Shape: ``scope`` and ``receive`` are those of its HTTP request, or None; ``body`` is what was read of it; ``progress``
    tells the client how far the call is, if it asks for that; ``answers`` are the client's to questions of the call, or
    None if it cannot be asked; ``notify`` sends it a message before the result, or is None where nothing can; ``failure``
    is the exception of a call that failed, which dependencies see when they are closed. ``result_type`` is what a modern
    version calls the result.
    """

    context: Context
    scope: Scope | None = None
    receive: Receive | None = None
    progress: Progress | None = None
    answers: Mapping[str, Any] | None = None
    notify: Callable[[bytes], Awaitable[object]] | None = None
    failure: BaseException | None = None
    body: bytes = b""
    result_type: str = "complete"

    @property
    def request(self) -> HttpRequest | None:
        """The HTTP request, or None."""
        if self.scope is None:
            return None
        assert self.receive is not None
        request = HttpRequest({**self.scope, "state": dict(self.scope.get("state", {}))}, self.receive)
        remember_body(request, self.body)
        return request

    async def close(self, failure: BaseException | None = None) -> None:
        """Run background tasks and close what the call opened."""
        if self.context.holds_resources:
            resources: Resources = self.context.resources
            await resources.close(failure or self.failure)

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers that the action or its dependencies set on a ``Response``, but those of the message."""
        response = self.context.resources.response if self.context.holds_resources else None
        return [] if response is None else [each for each in response.raw_headers if each[0] not in _MESSAGE_HEADERS]


class CallFailed(Exception):
    """A call failed; ``error`` is what the client may know of it."""

    def __init__(self, error: ActionError) -> None:
        super().__init__(error)
        self.error = error


async def call_action(
    plan: Plan, params: Mapping[str, Any], exchange: Exchange, render: Callable[[Any], Awaitable[bytes]]
) -> bytes:
    """Call an action and return what ``render`` makes of its result.

    Errors: CallFailed; InputRequired if the action asks; TokenRequired and InsufficientScope if another token may help.
    """
    if exchange.progress is not None or exchange.answers is not None:
        exchange.context.client = Client(exchange.progress, exchange.answers, plan.cache_policy is not None)
    return await settled(plan, exchange, lambda: _rendered(plan, params, exchange, render))


async def settled(plan: Plan, exchange: Exchange, call: Callable[[], Awaitable[bytes]]) -> bytes:
    """Return what a call for an action returns. Errors: those of `call_action`."""
    context = exchange.context
    try:
        if exchange.scope is not None and (plan.injection is not None or context.runtime.job_owner is not None):
            context.resources = Resources(request=exchange.request, app=context.runtime.app)
        return await call()
    except (Exception, asyncio.CancelledError) as raised:
        error = exchange.failure = exception_of(raised)
    try:
        await exchange.close()
    except Exception as other:  # a dependency may raise another error when it is closed
        error = other
    if isinstance(error, InputRequired):
        raise error
    known = known_error(error, context.runtime, context.request_id, plan.action.name, "mcp")
    if exchange.scope is not None and isinstance(known, Unauthenticated):
        raise TokenRequired(required_scopes(plan.action.access_control)) from error
    if exchange.scope is not None and isinstance(known, Forbidden):
        missing = await _missing_scopes(plan, context)
        if missing:
            raise InsufficientScope(missing) from error
    raise CallFailed(known) from error


async def _rendered(
    plan: Plan, params: Mapping[str, Any], exchange: Exchange, render: Callable[[Any], Awaitable[bytes]]
) -> bytes:
    context, action = exchange.context, plan.action
    result = await invoke(action, params, context)
    if not action.signature.streams:
        return await render(result)
    # A stream starts within the action's timeout; here it has to end within it.
    try:
        async with asyncio.timeout_at(context.deadline):
            return await render(result)
    except TimeoutError:
        raise ActionTimeout(action.timeout) from None


async def _missing_scopes(plan: Plan, context: Context) -> tuple[str, ...]:
    """Return the scopes that the access rule names if the caller is refused for lack of one of them."""
    authorization = context.verified_authorization
    scopes = required_scopes(plan.action.access_control)
    if authorization is None or authorization.has_all_scopes(scopes):
        return ()
    if not await may_call(plan, authorization):
        return scopes
    rule = plan.check_with_params
    return () if rule is None or authorization.has_all_scopes(required_scopes(rule)) else scopes
