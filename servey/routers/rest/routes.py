"""REST routes: each web trigger of an action becomes a route of a FastAPI router and part of its OpenAPI document."""

from __future__ import annotations

import re
from functools import partial
from typing import Any, cast

from fastapi import APIRouter
from fastapi.routing import iter_route_contexts
from starlette.responses import JSONResponse, Response

from servey.core.actions import Action
from servey.core.actions.naming import kebab_case
from servey.core.errors import ConfigError
from servey.core.triggers import WebTrigger
from servey.http.web import has_body, operation_id_of
from servey.routers.rest import describe
from servey.routers.rest.action_route import ActionRoute, Served, endpoint_of
from servey.routers.rest.query import Places, check_shapes, places_of
from servey.runtime.runtime import Runtime


def path_of(action: Action, trigger: WebTrigger) -> str:
    """Return the path of a trigger: its own or one derived from the action's name, below the prefix of its group."""
    if trigger.path is not None:
        return action.prefix + trigger.path
    above = action.prefix or "/actions"
    if action.class_name is not None and not action.given_name:
        return f"{above}/{kebab_case(action.class_name)}/{kebab_case(action.fn.__name__)}"
    return f"{above}/{kebab_case(action.name)}"


BUILT_IN_OPERATIONS = ("login", "job")
"""The operation ids of Servey's own routes."""


def mount_actions(router: APIRouter, runtime: Runtime, *, prefix: str = "", scheme: Any = None) -> None:
    """Add a route for every web trigger of every action.

    Errors: ConfigError that lists every problem: two routes of one path and method, a path parameter that the action does
    not have, a type that a query string cannot contain.
    """
    problems: list[str] = []
    taken_ids = {str(getattr(each, "operation_id", None)) for each in iter_route_contexts(router.routes)}
    taken_ids |= {operation_id_of(name, prefix) for name in BUILT_IN_OPERATIONS}
    taken_paths: dict[tuple[str, str], Action] = {}
    for action, trigger in runtime.catalog.triggered_by(WebTrigger):
        path = path_of(action, trigger)
        other = taken_paths.setdefault(route_key(trigger.method.value, path), action)
        try:
            if not path.startswith("/"):
                raise action.problem(f"path is {path!r}; begin it with '/'")
            if other is not action:
                raise ConfigError(
                    f"{trigger.method} {path} is a route of action '{other.name}' ({other.place}) "
                    f"and of action '{action.name}' ({action.place}); give one of them another path"
                )
            _add_route(router, Served(runtime, action, trigger, scheme, prefix), prefix + path, taken_ids)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)


def route_key(method: str, path: str) -> tuple[str, str]:
    """Return what two routes for the same requests have in common: the method, and the path without names."""
    return method, re.sub(r"\{[^}]*\}", "{}", path)


def checked_places(served: Served, path: str, example: str) -> Places:
    """Return where the parameters of a new route come from.

    Shape: ``example`` is a trigger whose method has a body.
    Errors: ConfigError if the path or the method does not fit the parameters.
    """
    action = served.action
    injection = served.runtime.plan(action).injection
    path_keys = re.findall(r"\{([a-zA-Z_]\w*)(?::\w+)?\}", path)
    places = places_of(action, path_keys, takes_body=served.takes_body)
    known = places.path | (injection.in_address if injection is not None else frozenset())
    unknown = [key for key in path_keys if key not in known]
    if unknown:
        raise action.problem(f"path {path!r} has '{unknown[0]}', which is not a parameter of the function")
    in_body = injection.in_body if injection is not None else ()
    if in_body and not served.takes_body:
        raise action.problem(f"comes from the body; use a method with one, e.g. {example}", in_body[0].name)
    check_shapes(action, places.query, "a query string")
    return places


def _add_route(router: APIRouter, served: Served, path: str, taken_ids: set[str]) -> None:
    action = served.action
    plan = served.runtime.plan(action)
    injection = plan.injection
    places = checked_places(served, path, "WEB_POST")
    in_body = injection.in_body if injection is not None else ()
    if injection is not None and injection.takes_form:
        check_shapes(action, places.body, "a form")
    describe.check_result(action)
    whole = action.signature.streams or action.result is None
    if action.signature.streams and served.status != 200:
        raise action.problem("is a stream, which answers 200; remove its status_code")
    is_empty = not has_body(served.status)
    router.add_api_route(
        path,
        endpoint_of(served),
        methods=[served.trigger.method.value],
        name=action.name,
        summary=action.summary,
        description=action.description,
        tags=list(action.tags) or None,
        deprecated=action.deprecated or None,
        operation_id=describe.operation_id(action, served.trigger, taken_ids),
        dependencies=[*describe.security_of(plan, served.scheme), *action.dependencies],
        # Set independently of the host's default: a class without a media type leaves a stream's types to `responses`.
        response_class=Response if whole else JSONResponse,
        response_model=None if whole or is_empty else describe.result_model(action),
        status_code=served.status,
        responses=describe.with_error_shape(
            describe.responses_of(plan, served.trigger, served.status, has_body=bool(places.body or in_body)),
            served.runtime,
        ),
        route_class_override=cast(Any, partial(ActionRoute, served)),
    )
