"""FastAPI's dependency resolution, called outside of its own routes.

Source: fastapi/dependencies/utils.py and fastapi/routing.py, 0.163 to 0.165.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import fastapi
from fastapi._compat import ModelField
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import SolvedDependency, get_dependant, solve_dependencies
from starlette.requests import Request

__all__ = ["Dependant", "ModelField", "SolvedDependency", "dependant_of", "requests_needed", "solve", "without_request"]

_NEEDED: dict[Callable[..., Any], set[str]] = {
    solve_dependencies: {
        "request",
        "dependant",
        "body",
        "dependency_overrides_provider",
        "async_exit_stack",
        "embed_body_fields",
    },
    get_dependant: {"path", "call"},
}
for _function, _parameters in _NEEDED.items():
    if not _parameters <= set(inspect.signature(_function).parameters):
        raise ImportError(
            f"fastapi {fastapi.__version__} changed {_function.__name__}(); "
            "install a version of fastapi that this version of servey supports"
        )


def dependant_of(call: Callable[..., Any], path: str = "/") -> Dependant:
    """What FastAPI reads from a callable's signature."""
    return get_dependant(path=path, call=call)


def tree(dependant: Dependant) -> Iterator[Dependant]:
    """A dependant and all that it depends on."""
    yield dependant
    for each in dependant.dependencies:
        yield from tree(each)


def has_generators(dependant: Dependant) -> bool:
    """Whether something in it is to be closed after the call."""
    return any(
        inspect.isgeneratorfunction(_plain(each.call)) or inspect.isasyncgenfunction(_plain(each.call))
        for each in tree(dependant)
        if each is not dependant
    )


def _plain(call: Any) -> Any:
    call = inspect.unwrap(call)
    return call if inspect.isroutine(call) else getattr(call, "__call__", call)  # noqa: B004


def places_needed(dependant: Dependant) -> str | None:
    """What in it can only come from a path or a body of the action's own, in words; None where there is nothing such."""
    for each in tree(dependant):
        for kind, fields in (("path parameter", each.path_params), ("body's part", each.body_params)):
            for field in fields:
                if field.field_info.is_required():
                    return f"the {kind} '{field.alias}'"
    return None


def requests_needed(dependant: Dependant) -> str | None:
    """What in it can only come from an HTTP request, in words; None where there is nothing such."""
    for each in tree(dependant):
        for kind, fields in (
            ("header", each.header_params),
            ("cookie", each.cookie_params),
            ("query parameter", each.query_params),
            ("path parameter", each.path_params),
            ("form field", each.body_params),
        ):
            for field in fields:
                if field.field_info.is_required():
                    return f"the {kind} '{field.alias}'"
        for name in (each.request_param_name, each.http_connection_param_name, each.websocket_param_name):
            if name is not None and not _has_default(each.call, name):
                return f"the request, as '{name}'"
    return None


def reads_request(dependant: Dependant) -> bool:
    """Whether a callable by itself, without what it depends on, is given something of the request."""
    fields = ("header_params", "cookie_params", "query_params", "path_params", "body_params")
    names = ("request_param_name", "http_connection_param_name", "websocket_param_name")
    return any(getattr(dependant, each) for each in fields) or any(
        getattr(dependant, each) is not None for each in names
    )


def without_request(dependant: Dependant) -> Dependant:
    """The same, for calls that no HTTP request stands behind: what is filled from one keeps its default."""
    return dataclasses.replace(
        dependant,
        request_param_name=None,
        http_connection_param_name=None,
        dependencies=[without_request(each) for each in dependant.dependencies],
    )


def _has_default(call: Any, name: str) -> bool:
    return inspect.signature(call).parameters[name].default is not inspect.Parameter.empty


async def solve(
    dependant: Dependant,
    request: Request,
    *,
    body: Any,
    overrides: Any,
    request_stack: AsyncExitStack,
    function_stack: AsyncExitStack,
) -> SolvedDependency:
    """Runs the dependencies of a callable, as FastAPI does for one of its own routes.

    Shape: ``overrides`` is an object with ``dependency_overrides``, as an app has it. What ``yield`` dependencies close
    goes onto the two stacks, the request's and the function's; the request must be this call's alone.
    """
    scope = request.scope
    scope["fastapi_inner_astack"] = scope["fastapi_middleware_astack"] = request_stack
    scope["fastapi_function_astack"] = function_stack
    return await solve_dependencies(
        request=request,
        dependant=dependant,
        body=body,
        dependency_overrides_provider=overrides,
        async_exit_stack=request_stack,
        embed_body_fields=True,
    )


def is_bare(app: fastapi.FastAPI) -> bool:
    """Whether nothing of FastAPI's own around an app's routes would do something: no telemetry, no limit of bodies."""
    telemetry = getattr(app, "_native_telemetry", None)
    watches = telemetry is not None and (not hasattr(telemetry, "enabled") or telemetry.enabled())
    return not watches and getattr(app, "max_body_size", None) is None


def has_frontend(router: Any) -> bool:
    """Whether a router serves more than its routes: the files of a frontend, where no route is."""
    return bool(getattr(router, "_low_priority_routes", ())) or any(
        hasattr(route, "effective_low_priority_routes") for route in router.routes
    )
