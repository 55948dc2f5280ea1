"""The two forms of an action's route, and how a request goes from the one to the other.

The generic form says what a request means. The compiled one does the same where it can, and gives back what it can not:
before a user's code has run, or with what the call has raised.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from servey.context import Context
from servey.errors import InvalidParams
from servey.invoke import Plan
from servey.limits import readable_errors
from servey.routers.query import Places, Shape
from servey.runtime import Runtime
from servey.web import Answer, error_response, exception_of, for_host, known_error, replay

logger = logging.getLogger("servey")

Generic = Callable[[Scope, Receive, Send], Awaitable[None]]
"""What a request is replayed through: the route's generic form, with whatever stands around it."""

Serve = Callable[[Scope, Receive, Send, Sequence[str], Generic, str | None], Coroutine[Any, Any, None]]
"""A compiled route: ``serve(scope, receive, send, path values, generic, request id)``; without an id it makes one."""

AGAIN = "servey.again"
"""The key in a scope that says that a request is a replay, and of what."""

ODD_HEADERS = frozenset({b"prefer"})
"""Headers of a request that only the generic form knows."""


@dataclass(frozen=True)
class Again:
    """A request that the compiled form gives back: with its admitted context, and with what its call has raised."""

    context: Context | None = None
    error: Exception | None = None


@dataclass(frozen=True, eq=False)
class Facts:
    """What a route has decided of itself.

    Shape: ``path_names`` in the order of the path; ``known_in_query`` and ``known_in_body`` are what a strict schema takes;
    ``located`` puts the part of the request into the places of errors.
    """

    runtime: Runtime
    plan: Plan
    places: Places
    query_shapes: Mapping[str, Shape]
    path_names: tuple[str, ...]
    reads_body: bool
    known_in_query: frozenset[str]
    known_in_body: frozenset[str]
    strict: bool
    limit_bytes: int
    located: Callable[[InvalidParams], InvalidParams]


def why_generic(facts: Facts) -> str | None:
    """Why a route is served by the generic form alone; None where it is compiled."""
    action = facts.plan.action
    if action.signature.streams:
        return "it streams"
    if facts.plan.injection is not None:
        return "FastAPI fills in some of its parameters"
    if action.cache_control is not None:
        return "its results are cached"
    if action.is_async and not _is_plain_coroutine_function(action.fn):
        return "its function is wrapped in something that is no coroutine function"
    if any(len(param.names) > 1 for param in action.signature.client if set(param.names) & facts.places.path):
        return "a path parameter of it has several names"
    return None


def _is_plain_coroutine_function(fn: Any) -> bool:
    return isinstance(fn, FunctionType) and bool(fn.__code__.co_flags & inspect.CO_COROUTINE)


class Begun:
    """An answer of which something has been sent."""

    started = True


def invalid(facts: Facts, error: ValidationError) -> InvalidParams:
    """What is wrong with the parameters, with where in the request it is."""
    return facts.located(InvalidParams(readable_errors(error)))


async def again(
    scope: Scope,
    receive: Receive,
    send: Send,
    generic: Generic,
    context: Context | None = None,
    request_id: str | None = None,
    raw: bytes | None = None,
) -> None:
    """Serves a request by the generic form; ``context`` has been admitted, ``raw`` is the body where it was read."""
    scope[AGAIN] = Again(context)
    if request_id is not None:
        scope.setdefault("state", {})["request_id"] = request_id
    await generic(scope, receive if raw is None else replay(raw, receive), send)


async def failed(
    facts: Facts,
    raised: BaseException,
    scope: Scope,
    receive: Receive,
    send: Send,
    generic: Generic,
    request_id: str,
    context: Context | None,
    answer: Answer | Begun | None,
) -> None:
    """Answers a call that has failed; an error that the app has a handler of its own for goes to it through the app."""
    name = facts.plan.action.name
    error = exception_of(raised)
    if context is not None and context.holds_resources:
        await context.resources.close(error)
    if answer is not None and answer.started:
        logger.error("action '%s' failed after its answer", name, exc_info=error)
        return
    if for_host(error, scope.get("app")) is not None:
        scope[AGAIN] = Again(error=error)
        scope.setdefault("state", {})["request_id"] = request_id
        await generic(scope, receive, send)
        return
    known = known_error(error, request_id, name)
    await error_response(known)(scope, receive, Answer(scope, send, request_id).send)
