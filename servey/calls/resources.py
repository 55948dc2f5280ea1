"""The resources that one call keeps open until its response is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any, Literal

from anyio import CancelScope
from fastapi.exceptions import RequestValidationError
from starlette.background import BackgroundTasks
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope

from servey.compat import fastapi_solver as compat
from servey.compat.anyio import is_in_cancel_scope
from servey.core.context import Context
from servey.core.errors import InvalidParams
from servey.core.queues import RequestPart


class Resources:
    """The resources of one call that stay open until its response is sent: dependencies, background tasks, a stream.

    Shape: ``request``, or ``scope`` and ``receive`` from which the request is made when a dependency needs it, and ``body``
    are those of the HTTP request; ``headers`` are its headers as a dict, if somebody has made it; ``app`` has the
    ``dependency_overrides``. ``function_exits`` and ``request_exits`` hold entered context managers, which close in
    reverse order: when the function has returned, and after the response is sent. ``response`` carries the headers
    and the status that dependencies set, ``background`` their tasks; ``thread`` is the state of the worker thread of
    a plain ``def``; ``closes_elsewhere`` says that another task than the one that calls closes them; ``request_part``
    is what a job kept of the request it was made from, or None.
    """

    request: Request | None = None
    scope: Any = None
    headers: Any = None
    receive: Any = None
    body: Any = None
    response: Response | None = None
    background: BackgroundTasks | None = None
    cleanup: CancelScope | None = None
    entered: bool = False
    has_request: bool = False
    # Most calls hold nothing open.
    function_exits: list[Any] | None = None
    request_exits: list[Any] | None = None
    failure: BaseException | None = None
    thread: Literal["waiting", "running", "returned"] | None = None
    request_part: RequestPart | None = None
    _on_return: Callable[[], None] | None = None

    def __init__(
        self,
        *,
        request: Request | None = None,
        app: Any = None,
        closes_elsewhere: bool = False,
        scope: Scope | None = None,
        receive: Receive | None = None,
    ) -> None:
        if request is not None:
            self.request, scope, receive = request, request.scope, request.receive
        self.scope = scope
        self.receive = receive
        self.has_request = scope is not None
        self.app = app
        self.closes_elsewhere = closes_elsewhere
        self._closers: list[Callable[[], Awaitable[None]]] = []

    def on_close(self, closer: Callable[[], Awaitable[None]]) -> None:
        """Register a cleanup callback; callbacks run in reverse order after the response is sent."""
        self._closers.append(closer)

    def close_form(self, close: Callable[[], Awaitable[None]]) -> None:
        """Close the files of a form at the end: background tasks may read them, as in FastAPI."""
        self._closers += close, self.run_background

    def thread_returned(self) -> None:
        """Record that the plain ``def`` has returned; called in its thread."""
        self.thread = "returned"
        if self._on_return is not None:
            self._on_return()

    async def wait_for_thread(self) -> None:
        """Wait until the plain ``def`` has returned, if its thread runs."""
        loop, returned = asyncio.get_running_loop(), asyncio.Event()
        self._on_return = lambda: _wake(loop, returned)
        if self.thread == "running":
            await returned.wait()

    async def run_background(self) -> None:
        """Run the background tasks that were added so far, once, unless the call failed."""
        tasks, self.background = self.background, None
        if tasks is not None and self.failure is None:
            await tasks()

    async def close(self, failure: BaseException | None) -> None:
        """End the call: run background tasks and close everything; dependencies see ``failure`` raised."""
        self.failure = failure
        error = None
        while self._closers:
            try:
                await self._closers.pop()()
            except BaseException as raised:
                error = raised
        await self.run_background()
        if error is not None:
            raise error

    def invalid(self, errors: list[Any]) -> Exception:
        """Return the exception for invalid parameters; for a request it is FastAPI's, which dependencies may catch."""
        return RequestValidationError(errors, body=self.body) if self.has_request else InvalidParams(errors)

    async def enter(self, manager: Any, scope: str) -> Any:
        """Enter a generator dependency that runs in threads, and return what it yields."""
        value = await manager.__aenter__()
        self._exits(scope).append(manager)
        return value

    def _exits(self, scope: str) -> list[Any]:
        if scope == "function":
            if self.function_exits is None:
                self.function_exits = []
            return self.function_exits
        if self.request_exits is None:
            self.request_exits = []
        return self.request_exits

    async def enter_async(self, manager: Any, scope: str) -> Any:
        """Enter an async generator dependency, and return what it yields."""
        if not self.entered:
            self.entered = True
            if is_in_cancel_scope():
                # Shields clean-up from the scopes around the call. Entered before the first generator, so that it
                # encloses the scopes that generators open themselves.
                self.cleanup = CancelScope()
                self.cleanup.__enter__()
                self._exits("request").append(_ScopeExit(self.cleanup))
        value = await manager.__aenter__()
        self._exits(scope).append(manager if self.cleanup is None else compat.Shielded(manager, self.cleanup))
        return value

    def detach(self) -> list[Any] | None:
        """Return the open context managers for another task to close; None if a dependency has a cancel scope open."""
        if self.cleanup is not None:
            try:
                self.cleanup.__exit__(None, None, None)
            except RuntimeError:
                return None
        elif self.entered and is_in_cancel_scope():
            return None
        exits = [*(self.request_exits or ()), *(self.function_exits or ())]
        self.request_exits = self.function_exits = None
        return [each for each in exits if not isinstance(each, _ScopeExit)]

    def use_empty_request(self) -> None:
        """Let dependencies see an empty request, or what a job kept of the request it was made from."""
        self.request = request = _empty_request(self)
        # Body fields and files have their defaults; an absent body would make them missing.
        self.scope, self.body = request.scope, {}


async def call_in_thread(call: Callable[[], Any], context: Context) -> Any:
    """Return what a plain ``def`` returns, which runs in a worker thread; the resources of the call know its state."""
    resources: Resources = context.resources

    def started() -> None:
        resources.thread = "running"

    def run() -> Any:
        try:
            return call()
        finally:
            resources.thread_returned()

    resources.thread = "waiting"
    return await context.runtime.threads.run(run, started)


class _ScopeExit:
    __slots__ = ("_scope",)

    def __init__(self, scope: CancelScope) -> None:
        self._scope = scope

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool | None:
        return self._scope.__exit__(kind, error, trace)


async def unwind(exits: list[Any] | None, error: BaseException | None) -> BaseException | None:
    """Close open context managers in reverse order; return the exception that remains, or None."""
    while exits and error is None:
        try:
            await exits.pop().__aexit__(None, None, None)
        except BaseException as raised:
            error = raised
    if not exits or error is None:
        return error
    # If closing raises another exception, contextlib chains it as `async with` does.
    stack = AsyncExitStack()
    for each in exits:
        stack.push_async_exit(each)
    exits.clear()
    try:
        suppressed = await stack.__aexit__(type(error), error, error.__traceback__)
    except BaseException as raised:
        return raised
    return None if suppressed else error


def _wake(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    with suppress(RuntimeError):  # the event loop may be closed
        loop.call_soon_threadsafe(event.set)


def _empty_request(resources: Resources) -> Request:
    """Return an empty request for calls without an HTTP request, or what a job kept of the request it was made from."""

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    part = resources.request_part or RequestPart()
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "root_path": "",
        "query_string": part.query.encode("latin-1"),
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in part.headers],
        "client": None,
        "server": None,
        "path_params": dict(part.path),
        "state": {},
        "app": resources.app,
    }
    return Request(scope, receive)
