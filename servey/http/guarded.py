"""Routes of Servey's own endpoints, which run the dependencies of the app or router that they are part of.

FastAPI collects the dependencies of an app, a router and ``include_router`` for its own route classes only, so that a plain
Starlette route, for example that of GraphQL, would be without the host's guards.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

import fastapi
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute, APIWebSocketRoute, iter_route_contexts
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from servey.calls.dependencies import call_with_dependencies
from servey.calls.injection import Injection, fill_route
from servey.calls.resources import Resources
from servey.compat import fastapi as compat
from servey.compat.fastapi_routes import including_context, route_of
from servey.core.context import Context, _before_guards, _current
from servey.core.errors import ActionError, TooLarge
from servey.core.process import Process
from servey.http.bodies import parse_json, read_form
from servey.http.errors import error_response, known_error, shown_response
from servey.http.handlers import error_for_handlers
from servey.http.origins import omit_credentials
from servey.http.tokens import caller_token
from servey.http.web import exception_of, operation_id_of, request_id_of

logger: logging.Logger = logging.getLogger("servey")

_GUARD_SECONDS = 15.0
_GUARDED_NAMES = {"graphql", "mcp", "subscription", "job"}


class FilledRoute(APIRoute):
    """A route of FastAPI's own whose dependencies may take an `Authorization` or a `Context`."""

    runtime: Process

    def get_route_handler(self) -> Any:
        route = including_context(self) or self
        fill_route(route.dependant)
        if not any(each.body_params for each in compat.tree(route.dependant)):
            route.body_field = None  # FastAPI took what is filled now for a body
        return super().get_route_handler()

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        running = _current.set(_context(self.runtime, scope))
        try:
            await super().handle(scope, receive, send)
        except ActionError as error:
            await _raise_or_answer(error, self.runtime, scope, receive, send)
        finally:
            _current.reset(running)


def filled_route(runtime: Process) -> type[FilledRoute]:
    """Return the class of a route of FastAPI's own in this app."""
    return type("FilledRoute", (FilledRoute,), {"runtime": runtime})


def _context(runtime: Process, scope: Scope) -> Context:
    return Context(runtime, "rest", request_id=request_id_of(scope), token=caller_token(scope, runtime))


async def _raise_or_answer(error: ActionError, runtime: Process, scope: Scope, receive: Receive, send: Send) -> None:
    for_handler = error_for_handlers(error, scope)
    if for_handler is not None:
        raise for_handler from error
    await error_response(error, runtime, scope)(scope, receive, send)


@contextmanager
def more_dependencies(router: APIRouter, dependencies: Sequence[Any]) -> Iterator[None]:
    """Add dependencies to the routes that a router is given inside of this context."""
    before = router.dependencies
    router.dependencies = [*before, *dependencies]
    try:
        yield
    finally:
        router.dependencies = before


# ---------------------------------------------------------------------------------------------------------------- HTTP


@dataclass(frozen=True, eq=False)
class GuardedApp:
    """An ASGI app as the endpoint of a `GuardedRoute`; `include_router` makes a route again from its endpoint alone."""

    app: ASGIApp
    runtime: Process
    is_direct: bool

    def __call__(self) -> None:
        """Fail: the route calls the app, and FastAPI only reads this signature."""
        raise AssertionError("the route serves the ASGI app")


def add_guarded(
    router: APIRouter,
    path: str,
    app: ASGIApp,
    runtime: Process,
    *,
    methods: Sequence[str],
    name: str,
    is_direct: bool = False,
) -> None:
    """Add a route that runs the dependencies around it and then an ASGI app; documents do not show it.

    With ``is_direct`` requests skip middleware that has nothing to do; the ASGI app must answer every error itself and add
    the request id.
    """
    router.add_api_route(
        path,
        GuardedApp(app, runtime, is_direct),
        methods=[*methods, "HEAD"] if "GET" in methods else list(methods),
        name=name,
        operation_id=operation_id_of(name, path),
        response_model=None,
        include_in_schema=False,
        route_class_override=GuardedRoute,
    )


class GuardedRoute(APIRoute):
    """The route of an ASGI app that FastAPI's dependencies guard."""

    def __init__(self, path: str, endpoint: GuardedApp, **kwargs: Any) -> None:
        self._app, self._runtime, self._is_direct = endpoint.app, endpoint.runtime, endpoint.is_direct
        super().__init__(path, endpoint, **kwargs)

    def get_route_handler(self) -> Any:
        fill_route((including_context(self) or self).dependant)
        return super().get_route_handler()

    @property
    def serve(self) -> Any:
        """What serves a request without a lookup by the router, or None if there are dependencies to run."""
        return None if self.dependant.dependencies else self._serve

    @property
    def observer(self) -> Any:
        """What logs, counts and traces the requests of this route."""
        return self._runtime.observer

    def direct(self) -> Any:
        """What serves a request without middleware, or None if it needs more than that or a tool has wrapped the route; the
        caller asks `is_unwrapped`."""
        return self.serve if self._is_direct and "handle" not in self.__dict__ else None

    async def _serve(
        self, scope: Scope, receive: Receive, send: Send, values: Any, generic: Any, request_id: str | None
    ) -> None:
        await self._app(scope, receive, send)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = route_of(self, scope)
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)  # 405
        elif not route.dependant.dependencies:
            await self._app(scope, receive, send)
        else:
            await self._handle_guarded(route, scope, receive, send)

    async def _handle_guarded(self, route: Any, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        context = _context(self._runtime, scope)
        context.deadline = asyncio.get_running_loop().time() + _GUARD_SECONDS
        running = _current.set(context)
        try:
            await self._guard(route, context, scope, receive, watched)
        except (Exception, asyncio.CancelledError) as raised:
            error = exception_of(raised)
            if started:
                logger.error("%s failed after its response was sent", self.name, exc_info=error)
                return
            for_handler = error_for_handlers(error, scope)
            if for_handler is not None:
                raise for_handler from error
            known = known_error(error, self._runtime, request_id_of(scope), self.name)
            await shown_response(known, self._runtime, scope)(scope, receive, send)
        finally:
            _current.reset(running)

    async def _guard(self, route: Any, context: Context, scope: Scope, receive: Receive, send: Send) -> None:
        injection = compat.attached(route, "servey_injection", lambda: Injection(route.dependant))
        body = _Recorded(receive, self._runtime.settings.max_body_bytes)
        resources = Resources(request=Request(scope, body.receive), app=route.dependency_overrides_provider)
        context.resources = resources
        failure: BaseException | None = None
        before = _before_guards.set(copy_context())
        try:
            resources.body = await _body_of(injection, resources)
            await call_with_dependencies(injection, context, _pass, timeout=_GUARD_SECONDS)
            headers = resources.response.raw_headers if resources.response is not None else []
            await self._app(scope, body.replayed, _with_headers(send, headers))
        except BaseException as error:
            failure = error
            raise
        finally:
            _before_guards.reset(before)
            await resources.close(failure)


async def _pass(injected: Mapping[str, Any]) -> None:
    """Do nothing: the dependencies have run."""


async def _body_of(injection: Injection, resources: Resources) -> Any:
    """Return the body for dependencies that read it, or None if there are none."""
    request = resources.request
    if not injection.in_body or request is None:
        return None
    if injection.takes_form:
        form = await read_form(request)
        resources.close_form(form.close)
        return form
    raw = await request.body()
    return parse_json(raw) if raw else None


def _with_headers(send: Send, headers: list[tuple[bytes, bytes]]) -> Send:
    if not headers:
        return send

    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *headers]
        await send(message)

    return with_headers


class _Recorded:
    """A request body that dependencies may read before the endpoint reads it again."""

    def __init__(self, receive: Receive, limit_bytes: int) -> None:
        self._receive = receive
        self._limit_bytes = limit_bytes
        self._size = 0
        self._messages: list[Message] = []

    async def receive(self) -> Message:
        """Return the next message and keep it. Errors: TooLarge."""
        message = await self._receive()
        self._size += len(message.get("body", b""))
        if self._size > self._limit_bytes:
            raise TooLarge(self._limit_bytes)
        self._messages.append(message)
        return message

    async def replayed(self) -> Message:
        """Return the kept messages, then those that follow."""
        return self._messages.pop(0) if self._messages else await self._receive()


def has_guards(app: FastAPI) -> bool:
    """Whether dependencies of an app or its host guard the routes of GraphQL, MCP, channels or jobs."""
    return any(
        isinstance(each.original_route, GuardedRoute | GuardedSocketRoute | FilledRoute)
        and each.name in _GUARDED_NAMES
        and bool(each.dependant.dependencies)
        for each in iter_route_contexts(app.routes)
    )


# ---------------------------------------------------------------------------------------------------------- websockets


def add_guarded_socket(router: APIRouter, path: str, app: ASGIApp, runtime: Process, *, name: str) -> None:
    """Add a websocket route that runs the dependencies around it and then an ASGI app."""

    def served(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        omit_credentials(scope, runtime)
        return app(scope, receive, send)

    async def endpoint(websocket: WebSocket) -> None:
        await app(websocket.scope, websocket.receive, websocket.send)

    router.routes.append(
        GuardedSocketRoute(
            path,
            endpoint,
            name=name,
            dependencies=router.dependencies,
            dependency_overrides_provider=router.dependency_overrides_provider,
            guarded=served,
            runtime=runtime,
        )
    )


class GuardedSocketRoute(APIWebSocketRoute):
    """The route of a websocket that FastAPI's dependencies guard."""

    def __init__(self, path: str, endpoint: Any, *, guarded: ASGIApp, runtime: Process, **kwargs: Any) -> None:
        self._app, self._runtime = guarded, runtime
        super().__init__(path, endpoint, **kwargs)
        fill_route(self.dependant)

    @property
    def serve_socket(self) -> ASGIApp | None:
        """What serves a connection and keeps the least of it in memory, or None if there are dependencies to run."""
        return None if self.dependant.dependencies else self._app

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self.dependant.dependencies:
            await self._app(scope, receive, send)
            return
        omit_credentials(scope, self._runtime)
        running = _current.set(_context(self._runtime, scope))
        before = _before_guards.set(copy_context())
        try:
            await super().handle(scope, receive, send)
        except ActionError as error:
            # The app's handler for FastAPI's own errors denies the connection.
            raise fastapi.HTTPException(error.status, error.detail, dict(error.headers)) from error
        finally:
            _before_guards.reset(before)
            _current.reset(running)
