"""Deploying a project to AWS: its definitions, its package."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from servey.cli.output import fail

Check = Annotated[bool, typer.Option("--check", help="write nothing; the exit code is 1 where a file would change")]


Appsync = Annotated[bool, typer.Option("--appsync", help="an AppSync API too, as SERVEY_APPSYNC=1 says")]


def sls(check: Check = False, appsync: Appsync = False) -> None:
    """Write serverless.yml and what it includes from serverless_servey/; they change only where the project did."""
    from servey.app import create_app
    from servey.settings import Settings
    from servey.sls import serverless
    from servey.sls.stack import build_stack

    settings = Settings()
    if appsync:
        settings = settings.model_copy(update={"appsync": True})
    stack = build_stack(create_app(settings=settings))
    changed = serverless.changes(serverless.wanted_files(stack, settings.serverless_yml))
    if check and changed:
        fail(f"run `servey sls`: {', '.join(changed)} would change", 1)
    serverless.write(changed)
    for name, text in changed.items():
        print(f"{'removed' if text is None else 'wrote'} {name}", file=sys.stderr)


def package(
    architecture: Annotated[
        str | None, typer.Option(help="arm64 or x86_64 [default: what serverless.yml says, else arm64]")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="file to write")] = Path(".servey/lambda.zip"),
) -> None:
    """Make the zip of the Lambda function: the project, Servey, what both require, compiled, the same each time."""
    from servey.app import create_app
    from servey.graphql.mount import is_installed
    from servey.settings import Settings
    from servey.sls.package import Architecture, build_package, deployed_as, needed_at_start
    from servey.triggers import WebPageTrigger

    known: dict[str | None, Architecture | None] = {None: None, "arm64": "arm64", "x86_64": "x86_64"}
    if architecture not in known:
        fail("--architecture is arm64 or x86_64", 2)
    settings = Settings()
    app = create_app(settings=settings)
    wanted = deployed_as(settings.serverless_yml, known[architecture])
    needed = {"mangum", *needed_at_start()}
    # These are imported when they are first asked for.
    if any(app.runtime.catalog.triggered_by(WebPageTrigger)):
        needed.add("jinja2")
    if settings.serves_docs:
        needed.add("fastapi-offline")
    if is_installed():
        needed |= {"graphql-core", "strawberry-graphql"}
    zipped, unzipped = build_package(output, wanted, needed)
    print(f"wrote {output} for {wanted}: {zipped / 2**20:.1f} MB, {unzipped / 2**20:.1f} MB unzipped", file=sys.stderr)
