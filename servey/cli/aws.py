"""Commands that prepare a deployment to AWS: `sls` and `package`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from servey.cli.output import AppPlace, fail, use_app

Check = Annotated[bool, typer.Option("--check", help="write nothing; exit with 1 if a file would change")]


Appsync = Annotated[bool, typer.Option("--appsync", help="also generate an AppSync API, like SERVEY_APPSYNC=1")]


def sls(check: Check = False, appsync: Appsync = False, app: AppPlace = None) -> None:
    """Write serverless.yml and its includes in serverless_servey/; unchanged projects give unchanged files."""
    from servey.project import load_project
    from servey.sls import serverless
    from servey.sls.stack import build_stack

    use_app(app)
    served = load_project().required
    settings = served.runtime.settings
    if appsync:
        settings = served.runtime.settings = settings.model_copy(update={"appsync": True})
    stack = build_stack(served)
    changed = serverless.changes(serverless.wanted_files(stack, settings.serverless_yml))
    if check and changed:
        fail(f"run `servey sls`: {', '.join(changed)} would change", 1)
    serverless.write(changed)
    for name, text in changed.items():
        print(f"{'removed' if text is None else 'wrote'} {name}", file=sys.stderr)


def package(
    architecture: Annotated[
        str | None, typer.Option(help="arm64 or x86_64 [default: that of serverless.yml, else arm64]")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="file to write")] = Path(".servey/lambda.zip"),
    named: AppPlace = None,
) -> None:
    """Build the zip of the Lambda function: the project, Servey and their dependencies, compiled and reproducible."""
    from servey.core.triggers import WebPageTrigger
    from servey.graphql.mount import is_installed
    from servey.project import load_project
    from servey.sls.package import Architecture, build_package, deployed_as, needed_at_start

    known: dict[str | None, Architecture | None] = {None: None, "arm64": "arm64", "x86_64": "x86_64"}
    if architecture not in known:
        fail("--architecture must be arm64 or x86_64", 2)
    use_app(named)
    app = load_project().required
    settings = app.runtime.settings
    wanted = deployed_as(settings.serverless_yml, known[architecture])
    needed = {"mangum", *needed_at_start()}
    # These modules are imported on first use.
    if any(app.runtime.catalog.triggered_by(WebPageTrigger)):
        needed.add("jinja2")
    if settings.serves_docs:
        needed.add("fastapi-offline")
    if is_installed():
        needed |= {"graphql-core", "strawberry-graphql"}
    zipped, unzipped = build_package(output, wanted, needed)
    print(f"wrote {output} for {wanted}: {zipped / 2**20:.1f} MB, {unzipped / 2**20:.1f} MB unzipped", file=sys.stderr)
