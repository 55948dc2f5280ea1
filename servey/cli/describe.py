"""Describing a project: to people and to programs."""

from __future__ import annotations

import itertools
import json
from typing import Annotated

import typer

from servey.cli.output import Output, fail, print_table, write


def actions(as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False) -> None:
    """List every action: where it is exposed, who may call it, what is cached, and why it is not where it is not."""
    from servey.app import build_runtime, exposure_of
    from servey.graphql.fields import fields_of
    from servey.graphql.mount import is_installed
    from servey.settings import Settings

    runtime = build_runtime(Settings())
    fields = fields_of(runtime) if is_installed() else None
    rows = [exposure_of(runtime, action, fields) for action in runtime.catalog]
    if as_json:
        print(json.dumps([row.as_json() for row in rows], indent=2))
        return
    table = [("ACTION", "EXPOSED AT", "ACCESS", "CACHE", "SUMMARY")]
    for row in rows:
        first, *others = [*row.places, *(f"({reason})" for reason in row.absences)] or ["-"]
        table.append((row.name, first, row.access, row.cache, row.summary))
        table += [("", other, "", "", "") for other in others]
    # A column that no action has anything in is left out.
    shown = [column != 3 or any(row.cache for row in rows) for column in range(5)]
    print_table([tuple(itertools.compress(row, shown)) for row in table])


def openapi(output: Output = "openapi.json") -> None:
    """Write the OpenAPI document of the project."""
    from servey.app import create_app

    write(output, json.dumps(create_app().openapi(), indent=2, ensure_ascii=False) + "\n")


def asyncapi(output: Output = "asyncapi.json") -> None:
    """Write the AsyncAPI document of the project's event channels."""
    from servey.app import create_app
    from servey.settings import Settings
    from servey.ws.asyncapi import asyncapi_document

    settings = Settings()
    app = create_app(settings=settings)
    host = f"{settings.host}:{settings.port}"
    document = asyncapi_document(app.runtime, title=app.title, version=app.version, host=host)
    write(output, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def graphql_schema(output: Output = "servey_schema.graphql") -> None:
    """Write the GraphQL schema of the project."""
    from servey.app import build_runtime
    from servey.graphql.mount import is_installed
    from servey.settings import Settings

    if not is_installed():
        fail('GraphQL needs Servey\'s extra "graphql"; in a clone: pip install -e ".[graphql]"', 1)
    from servey.graphql.sdl import sdl_of

    write(output, sdl_of(build_runtime(Settings())))
