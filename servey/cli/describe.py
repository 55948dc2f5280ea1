"""Commands that describe a project: `actions`, `openapi`, `asyncapi`, `graphql-schema`."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Annotated

import typer

from servey.cli.output import AppPlace, Output, fail, print_table, use_app, warn_if_empty, write

if TYPE_CHECKING:
    from servey.app import Servey
    from servey.project import Project
    from servey.routers.rest.action_route import ActionRoute


def actions(
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    source: Annotated[
        str | None, typer.Option("--source", metavar="NAME", help="print the code of one action's routes")
    ] = None,
    explain: Annotated[
        str | None, typer.Option("--explain", metavar="NAME", help="say how one action's routes are served, and why")
    ] = None,
    app: AppPlace = None,
) -> None:
    """List every action: where it is exposed, its access rule, its cache, and why it is not exposed elsewhere."""
    served = _loaded(app).required
    if source is not None:
        print_sources(served, source)
        return
    if explain is not None:
        print_explanations(served, explain)
        return
    rows = served.exposures()
    if as_json:
        print(json.dumps([row.as_json() for row in rows], indent=2))
        return
    warn_if_empty(served)
    table = [("ACTION", "EXPOSED AT", "ACCESS", "CACHE", "SUMMARY")]
    for row in rows:
        first, *others = [*row.places, *(f"({reason})" for reason in row.absences)] or ["-"]
        table.append((row.name, first, row.access, row.cache, row.summary))
        table += [("", other, "", "", "") for other in others]
    # Omit the cache column if it is empty.
    shown = [column != 3 or any(row.cache for row in rows) for column in range(5)]
    print_table([tuple(itertools.compress(row, shown)) for row in table])


def print_sources(served: Servey, name: str) -> None:
    """Print the generated code of each REST route of an action, or why a route is served by the generic form."""
    from servey.routers.rest.compiled import source_of
    from servey.routers.rest.fallback import why_generic

    for route in _routes_of(served, name):
        reason = why_generic(route.spec)
        print(f"# {route.served.trigger.method.value} {route.path}")
        print(f"# not compiled: {reason}\n" if reason is not None else source_of(route.spec))


def print_explanations(served: Servey, name: str) -> None:
    """Print which form serves each REST route of an action, and why."""
    from servey.routers.rest.fallback import why_generic
    from servey.routers.rest.kept import why_not_kept

    for route in _routes_of(served, name):
        reason = why_generic(route.spec)
        print(f"{route.served.trigger.method.value} {route.path}")
        if reason is not None:
            print(f"  generic: {reason}")
            continue
        later = "Prefer: respond-async, and for " if route.spec.may_be_later else ""
        print(f"  compiled; generic for {later}requests with invalid input")
        if route.spec.plan.cache_policy is not None:
            why = why_not_kept(route.spec)
            print("  cached results: " + ("kept as bytes" if why is None else f"encoded for each request: {why}"))


def _routes_of(served: Servey, name: str) -> list[ActionRoute]:
    """Return the REST routes of an action. Exits if it has none."""
    from servey.routers.rest.action_route import ActionRoute

    routes = [route for route in served.routes if isinstance(route, ActionRoute)]
    found = [route for route in routes if route.served.action.name == name]
    if not found:
        known = ", ".join(sorted({route.served.action.name for route in routes}))
        fail(f"no action '{name}' has a REST route; these have: {known or 'none'}", 1)
    return found


def openapi(output: Output = "openapi.json", app: AppPlace = None) -> None:
    """Write the OpenAPI document of the project."""
    write(output, json.dumps(_loaded(app).app.openapi(), indent=2, ensure_ascii=False) + "\n")


def asyncapi(output: Output = "asyncapi.json", app: AppPlace = None) -> None:
    """Write the AsyncAPI document of the project's event channels."""
    from servey.ws.asyncapi import asyncapi_document

    served = _loaded(app).required
    settings = served.runtime.settings
    host = f"{settings.host}:{settings.port}"
    document = asyncapi_document(served.runtime, title=served.title, version=served.version, host=host)
    write(output, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def graphql_schema(output: Output = "servey_schema.graphql", app: AppPlace = None) -> None:
    """Write the GraphQL schema of the project."""
    from servey.graphql.mount import is_installed

    if not is_installed():
        fail('GraphQL needs Servey\'s extra "graphql"; in a clone: pip install -e ".[graphql]"', 1)
    from servey.graphql.schema.sdl import sdl_of

    write(output, sdl_of(_loaded(app).required.runtime))


def _loaded(place: str | None) -> Project:
    from servey.project import load_project

    use_app(place)
    project = load_project()
    if project.servey is not None:
        project.servey.check_variables()
    return project
