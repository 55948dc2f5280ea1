"""FastAPI's request handling around an endpoint, and whether a monitoring tool has replaced parts of it.

Source: fastapi/routing.py, 0.163 to 0.165; starlette/routing.py, 1.0 to 1.10.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import fastapi.routing
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, APIRouter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Scope

Handler = Callable[[Request], Awaitable[Response]]

REQUEST_PARAMETER = "request"


def handler_of(endpoint: Callable[..., Any], path: str) -> Handler:
    """Return FastAPI's handler for an endpoint that takes the request alone.

    It is looked up in the module, so that tools which replace FastAPI's functions observe the endpoint.
    """
    dependant = Dependant(call=endpoint, path=path, request_param_name=REQUEST_PARAMETER)
    handler: Handler = fastapi.routing.get_request_handler(dependant=dependant)
    return handler


@contextmanager
def without_parameters(endpoint: Any) -> Iterator[None]:
    """Let FastAPI read no parameters of an endpoint that has a ``__signature__``."""
    signature = endpoint.__signature__
    endpoint.__signature__ = inspect.Signature()
    try:
        yield
    finally:
        endpoint.__signature__ = signature


def take_parameters(dependant: Dependant, read: Dependant) -> None:
    """Add everything that was read from the parameters of the same function to the dependant of an endpoint, in place."""
    for name in _OF_PARAMETERS:
        found = getattr(read, name)
        setattr(dependant, name, list(found) if isinstance(found, list) else found)
    dependant.dependencies += [each for each in read.dependencies if each.name is not None]


_OF_PARAMETERS = (
    "path_params",
    "query_params",
    "header_params",
    "cookie_params",
    "body_params",
    "request_param_name",
    "websocket_param_name",
    "http_connection_param_name",
    "response_param_name",
    "background_tasks_param_name",
    "security_scopes_param_name",
)


def including_context(route: APIRoute) -> Any:
    """Return the context of the router that is being included and contains the route, or None."""
    context = fastapi.routing._effective_route_context_var.get()
    return context if context is not None and context.original_route is route else None


def is_included(scope: Scope) -> bool:
    """Whether a request reached its route through an included router."""
    return fastapi.routing._get_scope_effective_route_context(scope) is not None


def route_of(route: APIRoute, scope: Scope) -> Any:
    """Return a route, or its form in the including router that a request came through."""
    context = fastapi.routing._get_scope_effective_route_context(scope)
    return context if context is not None and context.original_route is route else route


def app_of(route: APIRoute, scope: Scope) -> Any:
    """Return the ASGI app of a route, as `APIRoute.handle` finds it."""
    context = fastapi.routing._get_scope_effective_route_context(scope)
    return context.app if context is not None and context.original_route is route else route.app


def is_original(function: Any, module: str) -> bool:
    """Whether a function is the one that its module defines, without a wrapper."""
    return (
        type(function) is FunctionType
        and not hasattr(function, "__wrapped__")
        and function.__code__.co_filename == sys.modules[module].__file__
    )


_OWNERS: tuple[tuple[Any, str], ...] = (
    (APIRoute, "handle"),
    (Route, "handle"),
    (APIRouter, "app"),
    (Router, "__call__"),
    (FastAPI, "__call__"),
    (Starlette, "__call__"),
    (fastapi.routing, "get_request_handler"),
    (fastapi.routing, "run_endpoint_function"),
    (fastapi.routing, "request_response"),
)
_ORIGINALS = tuple(getattr(owner, name) for owner, name in _OWNERS)
_WERE_ORIGINAL = all(is_original(each, each.__module__) for each in _ORIGINALS)


def is_unwrapped() -> bool:
    """Whether no tool has replaced a function that FastAPI calls for each request."""
    return _WERE_ORIGINAL and _current() == _ORIGINALS


def _current() -> tuple[Any, ...]:
    # Written out, since it runs for every request.
    routing = fastapi.routing
    return (
        APIRoute.handle,
        Route.handle,
        APIRouter.app,
        Router.__call__,
        FastAPI.__call__,
        Starlette.__call__,
        routing.get_request_handler,
        routing.run_endpoint_function,
        routing.request_response,
    )
