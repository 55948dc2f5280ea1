"""FastAPI's ``Depends`` for an action, in the same order and with the same clean-up on every way of calling it.

Under HTTP and elsewhere: dependencies open, the function runs, ``scope="function"`` dependencies close, the response
goes out (or the result is used), background tasks run, the other ``yield`` dependencies close.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from fastapi.exceptions import RequestValidationError
from fastapi.params import Form, Query
from pydantic import BaseModel
from starlette.background import BackgroundTasks
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from servey.actions import Action
from servey.compat import fastapi as compat
from servey.context import Context
from servey.errors import InvalidParams, ServeyError
from servey.params import Param

Call = Callable[[Mapping[str, Any]], Awaitable[Any]]
"""Runs the action's function with what was injected for it."""


@dataclass(frozen=True, eq=False)
class Injection:
    """What FastAPI fills in for an action, read once from its signature."""

    dependant: compat.Dependant

    @cached_property
    def has_generators(self) -> bool:
        """Whether something is to be closed after the call."""
        return compat.has_generators(self.dependant)

    @cached_property
    def requests_needed(self) -> str | None:
        """What can only come from an HTTP request, in words; None where the action can be called without one."""
        return compat.requests_needed(self.dependant)

    @cached_property
    def places_needed(self) -> str | None:
        """What can only come from a path or a body of the action's own, in words; None where it can do without."""
        return compat.places_needed(self.dependant)

    @cached_property
    def in_body(self) -> tuple[Param, ...]:
        """What it takes from a request's body, by wire name; a form's model stands for its fields."""
        found: dict[str, Param] = {}
        for each in compat.tree(self.dependant):
            for field in each.body_params:
                for param in _parts(field):
                    found.setdefault(param.alias, param)
        return tuple(found.values())

    @cached_property
    def takes_form(self) -> bool:
        """Whether the whole body has to be a form."""
        return any(
            isinstance(field.field_info, Form) for each in compat.tree(self.dependant) for field in each.body_params
        )

    @cached_property
    def in_address(self) -> frozenset[str]:
        """The names of what it takes from a request's path and query string."""
        return frozenset(
            param.alias
            for each in compat.tree(self.dependant)
            for field in (*each.path_params, *each.query_params)
            for param in _parts(field)
        )

    @cached_property
    def from_request(self) -> tuple[str, ...]:
        """The names of what is filled in by the action's own parameters and can differ from request to request."""
        own = self.dependant
        fields = (*own.header_params, *own.cookie_params, *own.query_params, *own.path_params, *own.body_params)
        made = [each.name for each in own.dependencies if any(map(compat.reads_request, compat.tree(each)))]
        return (*(field.name for field in fields), *(name for name in made if name is not None))

    @cached_property
    def takes_http(self) -> str | None:
        """Which of the two it takes whole, ``request`` or ``response``; None where it takes neither."""
        own = self.dependant
        if own.request_param_name or own.http_connection_param_name or own.websocket_param_name:
            return "request"
        return "response" if own.response_param_name else None

    @cached_property
    def without_request(self) -> compat.Dependant:
        return compat.without_request(self.dependant)


def _parts(field: compat.ModelField) -> list[Param]:
    info = field.field_info
    model = info.annotation
    fields = {field.name: info}
    if isinstance(info, Form | Query) and isinstance(model, type) and issubclass(model, BaseModel):
        fields = model.model_fields
    return [
        Param(name, each.alias or name, each, each.annotation, inspect.Parameter.empty, "fastapi")
        for name, each in fields.items()
    ]


def injection_of(action: Action) -> Injection | None:
    """What FastAPI has to fill in for an action; None where there is nothing.

    Errors: ConfigError where FastAPI does not take one of its parameters.
    """
    if not any(param.filled_by == "fastapi" for param in action.signature.params):
        return None
    try:
        return Injection(compat.dependant_of(injected_part(action)))
    except Exception as error:
        raise action.problem(f"FastAPI can not inject its dependencies: {error}") from error


def injection_of_route(dependant: compat.Dependant, scheme: Any) -> Injection | None:
    """What FastAPI fills in for a route: for the action, and for the host's own dependencies around it."""
    wanted = dataclasses.replace(
        dependant, dependencies=[each for each in dependant.dependencies if each.call is not scheme]
    )
    fields = ("header_params", "cookie_params", "body_params", "dependencies")
    names = (
        "request_param_name",
        "http_connection_param_name",
        "response_param_name",
        "background_tasks_param_name",
        "security_scopes_param_name",
    )
    needed = any(getattr(wanted, name) for name in fields) or any(getattr(wanted, name) is not None for name in names)
    return Injection(wanted) if needed else None


def injected_part(action: Action) -> Callable[..., Any]:
    """A callable with only those parameters of an action that FastAPI fills in, for FastAPI to look at."""

    def injected(**values: Any) -> None:
        raise AssertionError("only its signature is used")

    injected.__name__ = action.fn.__name__
    injected.__doc__ = action.description
    injected.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [_parameter(param) for param in action.signature.params if param.filled_by == "fastapi"]
    )
    return injected


def _parameter(param: Param) -> inspect.Parameter:
    return inspect.Parameter(
        param.name, inspect.Parameter.KEYWORD_ONLY, default=param.default, annotation=param.annotation
    )


class Resources:
    """What one call holds open until its answer is out: dependencies, background tasks, a stream.

    Shape: ``request`` and ``body`` are the HTTP request's own, or None; ``app`` is where ``dependency_overrides`` are
    looked for; ``response`` holds the headers and the status that dependencies have set; ``thread`` tells whether a
    plain ``def`` waits for its worker thread or has it.
    """

    def __init__(self, *, request: Request | None = None, app: Any = None) -> None:
        self.request = request
        self.app = app
        self.body: Any = None
        self.response: Response | None = None
        self.background: BackgroundTasks | None = None
        self.failure: BaseException | None = None
        self.thread: Literal["waiting", "running"] | None = None
        self._closers: list[Callable[[], Awaitable[None]]] = []

    def on_close(self, closer: Callable[[], Awaitable[None]]) -> None:
        """Has something closed when the answer is out; the last one first."""
        self._closers.append(closer)

    async def run_background(self) -> None:
        """Runs the background tasks that were added so far, once, unless the call failed."""
        tasks, self.background = self.background, None
        if tasks is not None and self.failure is None:
            await tasks()

    async def close(self, failure: BaseException | None) -> None:
        """Ends the call: background tasks, then everything that is open; ``failure`` is what dependencies see raised."""
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


async def call_with_dependencies(injection: Injection, context: Context, call: Call, *, timeout: float) -> Any:
    """Opens an action's dependencies, calls it, and leaves them open until the call's resources are closed.

    A plain ``def`` can not be cancelled once it has its thread: when its caller gives up, its dependencies stay open
    until the thread returns.
    Errors: InvalidParams for a header, cookie or form field that does not fit; TimeoutError after ``timeout`` seconds.
    """
    resources: Resources = context.resources
    if not (injection.has_generators or getattr(resources.app, "dependency_overrides", None)):
        async with asyncio.timeout(timeout):
            return await call(await _solve(injection, context, AsyncExitStack(), AsyncExitStack()))
    # One task opens and closes them: some may only be closed by the task that opened them, and they have to outlive a
    # caller that gave up while its thread runs on.
    kept = _Kept(injection, context, call)
    context.runtime.keep(kept.task)
    resources.on_close(kept.close)
    try:
        async with asyncio.timeout(timeout):
            return await asyncio.shield(kept.outcome)
    except (TimeoutError, asyncio.CancelledError):
        if not kept.outcome.done():
            await kept.abandon(leave_running=resources.thread == "running")
        raise


class SwallowedError(ServeyError):
    """A call that failed, and a ``yield`` dependency that did not let the error go on: there is no result to answer with."""

    def __init__(self) -> None:
        super().__init__("a dependency has kept an error of the call to itself; let it raise again what it catches")


class _Kept:
    """The task that holds the dependencies of one call open."""

    def __init__(self, injection: Injection, context: Context, call: Call) -> None:
        loop = asyncio.get_running_loop()
        self.outcome: asyncio.Future[Any] = loop.create_future()
        self._answered = asyncio.Event()
        self._abandoned = False
        self.task = loop.create_task(self._run(injection, context, call))

    async def _run(self, injection: Injection, context: Context, call: Call) -> None:
        resources: Resources = context.resources
        raised: BaseException | None = None
        try:
            async with AsyncExitStack() as request_stack:
                async with AsyncExitStack() as function_stack:
                    try:
                        values = await _solve(injection, context, request_stack, function_stack)
                        result = await call(values)
                    except BaseException as error:
                        raised = error
                        raise
                if raised is not None:
                    raise SwallowedError from raised
                if self._abandoned:
                    return
                self.outcome.set_result(result)
                await self._answered.wait()
                await resources.run_background()
                if resources.failure is not None:
                    raise resources.failure
            if not self.outcome.done():
                raise SwallowedError from raised
        except BaseException as error:
            if not self.outcome.done():
                self.outcome.set_exception(error)
                self.outcome.exception()  # whoever gave up does not look at it
            elif error is not resources.failure:
                raise

    async def abandon(self, *, leave_running: bool) -> None:
        """Gives up on a call that is not done: cancels it, or leaves its thread to finish by itself."""
        self._abandoned = True
        if not leave_running:
            self.task.cancel()
            await asyncio.wait({self.task})

    async def close(self) -> None:
        self._answered.set()
        if not self._abandoned:
            await asyncio.shield(self.task)


async def _solve(
    injection: Injection, context: Context, request_stack: AsyncExitStack, function_stack: AsyncExitStack
) -> Mapping[str, Any]:
    resources: Resources = context.resources
    in_http = resources.request is not None
    solved = await compat.solve(
        injection.dependant if in_http else injection.without_request,
        resources.request or _no_request(resources),
        body=resources.body,
        overrides=resources.app,
        request_stack=request_stack,
        function_stack=function_stack,
    )
    if solved.errors:
        raise InvalidParams(list(RequestValidationError(solved.errors).errors()))
    resources.response = solved.response
    if solved.background_tasks is not None:
        resources.background = solved.background_tasks
    return solved.values


def _no_request(resources: Resources) -> Request:
    """The request that dependencies see where none stands behind the call: it has no headers and no body."""

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "root_path": "",
        "query_string": b"",
        "headers": [],
        "client": None,
        "server": None,
        "path_params": {},
        "state": {},
        "app": resources.app,
    }
    return Request(scope, receive)
