"""How a request moves from a compiled route to the route's generic form.

The generic form defines the behaviour. The compiled form handles common requests and hands the others back, either before
user code runs or with the exception that the call raised.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from servey.calls.invoke import Plan
from servey.calls.validation_errors import readable_errors
from servey.core.context import Context
from servey.core.errors import InvalidParams
from servey.http.errors import as_action_error, error_response
from servey.http.handlers import has_handler, late_error
from servey.http.tokens import is_default
from servey.http.web import Answer, exception_of, replay
from servey.routers.rest.query import Places
from servey.routers.rest.shapes import Shape
from servey.runtime.runtime import Runtime

Generic = Callable[[Scope, Receive, Send], Awaitable[None]]
"""The app that replays a request: the route's generic form with everything around it."""

Serve = Callable[[Scope, Receive, Send, Sequence[str], Generic, str | None], Coroutine[Any, Any, None]]
"""A compiled route: ``serve(scope, receive, send, path values, generic, request id or None)``."""

FALLBACK = "servey.fallback"
"""The scope key that marks a request as a replay."""


@dataclass(frozen=True)
class Fallback:
    """A request that the compiled form hands back: with its authorized context, or with the exception that was raised and
    the body that was read.
    """

    context: Context | None = None
    error: Exception | None = None
    raw: bytes | None = None


@dataclass(frozen=True, eq=False)
class RouteSpec:
    """Precomputed properties of a route.

    Shape: ``path_names`` in the order of the path; ``known_in_query`` and ``known_in_body`` are the names that a strict
    schema accepts; ``status`` is the status code of a success; ``provider`` has the app's ``dependency_overrides``;
    ``may_be_later`` says that ``Prefer: respond-async`` makes a call a job;
    ``located`` adds the part of the request to the locations of errors.
    """

    runtime: Runtime
    plan: Plan
    method: str
    places: Places
    query_shapes: Mapping[str, Shape]
    body_shapes: Mapping[str, Shape]
    path_names: tuple[str, ...]
    reads_body: bool
    known_in_query: frozenset[str]
    known_in_body: frozenset[str]
    strict: bool
    limit_bytes: int
    status: int
    located: Callable[[InvalidParams], InvalidParams]
    provider: Any
    may_be_later: bool

    @property
    def takes_form(self) -> bool:
        """Whether its body is a form."""
        injection = self.plan.injection
        return injection is not None and injection.takes_form


def why_generic(spec: RouteSpec) -> str | None:
    """Return why a route is not compiled, or None if it is."""
    action = spec.plan.action
    if action.signature.streams:
        return "it is a stream"
    if action.cancel_on_disconnect:
        return "it is cancelled when its client disconnects"
    if action.cursor is not None:
        return "it returns a Page, and its response a link to the next one"
    if not is_default(spec.runtime.token_source):
        return "tokens come from a source of the app's own"
    if spec.runtime.job_owner is not None:
        return "the owner of its jobs is asked of the host, which needs the whole request"
    injection = spec.plan.injection
    if injection is not None and injection.in_body and not injection.takes_form:
        return "FastAPI injects parts of its body"
    if spec.places.flat is not None:
        return "its query parameters are the fields of a model"
    if action.is_async and not _is_plain_coroutine_function(action.fn):
        return "its function is wrapped in an object that is not a coroutine function"
    if any(len(param.names) > 1 for param in action.signature.client if set(param.names) & spec.places.path):
        return "one of its path parameters has several aliases"
    return None


def _is_plain_coroutine_function(fn: Any) -> bool:
    return isinstance(fn, FunctionType) and bool(fn.__code__.co_flags & inspect.CO_COROUTINE)


class ResponseStarted:
    """Marks a response as started."""

    started = True


def invalid(spec: RouteSpec, error: ValidationError) -> InvalidParams:
    """Return the validation errors with their locations in the request."""
    return spec.located(InvalidParams(readable_errors(error)))


async def fall_back_to_generic(
    scope: Scope,
    receive: Receive,
    send: Send,
    generic: Generic,
    context: Context | None = None,
    request_id: str | None = None,
    raw: bytes | None = None,
) -> None:
    """Serve a request by the generic form; ``context`` is already authorized, ``raw`` is the body if it was read."""
    scope[FALLBACK] = Fallback(context)
    if request_id is not None:
        scope.setdefault("state", {})["request_id"] = request_id
    await generic(scope, receive if raw is None else replay(raw, receive), send)


async def failed(
    spec: RouteSpec,
    raised: BaseException,
    scope: Scope,
    receive: Receive,
    send: Send,
    generic: Generic,
    request_id: str,
    context: Context | None,
    answer: Answer | ResponseStarted | None,
    raw: bytes | None,
) -> None:
    """Answer a failed call. An error that an exception handler of the app or its middleware has to see is raised by the
    generic form.
    """
    error = exception_of(raised)
    if spec.runtime.observer is not None:
        spec.runtime.observer.failed(error)
    if context is not None and context.holds_resources:
        await context.resources.close(error)
    if answer is not None and answer.started:
        raise await late_error(error, scope)
    known = as_action_error(error)
    if known is None or has_handler(error, scope.get("app")):
        scope[FALLBACK] = Fallback(error=error, raw=raw)
        scope.setdefault("state", {})["request_id"] = request_id
        await generic(scope, receive if raw is None else replay(raw, receive), send)
        return
    await error_response(known, spec.runtime, scope)(scope, receive, Answer(scope, send, request_id).send)
