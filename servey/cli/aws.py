"""Commands that prepare a deployment to AWS: `sls` and `package`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from servey.cli.output import AppPlace, fail, progress_line, use_app, warn_if_empty
from servey.core.errors import ConfigError

Check = Annotated[bool, typer.Option("--check", help="write nothing; exit with 1 if a file would change")]


Appsync = Annotated[bool, typer.Option("--appsync", help="also generate an AppSync API, like SERVEY_APPSYNC=1")]


Stage = Annotated[
    list[str] | None,
    typer.Option("--stage", help="check the names of this stage [default: that of serverless.yml]"),
]


def sls(check: Check = False, appsync: Appsync = False, stage: Stage = None, app: AppPlace = None) -> None:
    """Write serverless.yml and its includes in serverless_servey/; unchanged projects give unchanged files."""
    from servey.project import load_project
    from servey.sls import serverless
    from servey.sls.stack import build_stack

    use_app(app)
    served = load_project().required
    settings = served.runtime.settings
    if appsync:
        settings = served.runtime.settings = settings.model_copy(update={"appsync": True})
    warn_if_empty(served)
    stack = build_stack(served, stage or ())
    changed = serverless.changes(serverless.wanted_files(stack, settings.serverless_yml))
    if check and changed:
        fail(f"run `servey sls`: {', '.join(changed)} would change", 1)
    serverless.write(changed)
    for name, text in changed.items():
        print(f"{'removed' if text is None else 'wrote'} {name}", file=sys.stderr)


@contextmanager
def _hinting_at(unknown: Sequence[str]) -> Iterator[None]:
    """Add to the problems of an app that does not start which of its own variables have no value here."""
    try:
        yield
    except ConfigError as error:
        if not unknown:
            raise
        hint = f"pyproject.toml takes the value of {', '.join(unknown)} from elsewhere; if that is why, set it here"
        raise ConfigError([*error.problems, hint]) from None


def package(
    architecture: Annotated[
        str | None, typer.Option(help="arm64 or x86_64 [default: that of serverless.yml, else arm64]")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="file to write")] = Path(".servey/lambda.zip"),
    group: Annotated[list[str] | None, typer.Option("--group", help="also install this dependency group")] = None,
    extra: Annotated[list[str] | None, typer.Option("--extra", help="also install this extra of the project")] = None,
    layer: Annotated[
        list[Path] | None,
        typer.Option("--layer", help="zip or folder of a layer of the function, whose packages are left out"),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="print each file and why it is in the package")] = False,
    no_check: Annotated[bool, typer.Option("--no-check", help="do not start the package")] = False,
    named: AppPlace = None,
) -> None:
    """Build the zip of the Lambda function: the project, Servey and their dependencies, and prove that it starts."""
    from servey.core.triggers import WebPageTrigger
    from servey.graphql.mount import is_installed
    from servey.project import load_project
    from servey.sls.own import read_own
    from servey.sls.package import Architecture, Wanted, build_package, deployed_as, is_deployed_with_stream
    from servey.sls.packaging.contents import Included, summary

    known: dict[str | None, Architecture | None] = {None: None, "arm64": "arm64", "x86_64": "x86_64"}
    if architecture not in known:
        fail("--architecture must be arm64 or x86_64", 2)
    use_app(named)
    unknown = []
    for name, value in read_own(Path.cwd()).environment.items():
        # The app may read its own variables when it starts; a value from elsewhere is not known here.
        is_known = name in os.environ or (isinstance(value, str) and "${" not in value)
        os.environ.setdefault(name, str(value) if is_known else "unknown")
        unknown += [] if is_known else [name]
    with _hinting_at(unknown):
        app = load_project().required
    warn_if_empty(app)
    settings = app.runtime.settings
    processor = deployed_as(settings.serverless_yml, known[architecture])
    # These modules are imported on first use.
    needed = {"jinja2"} if any(app.runtime.catalog.triggered_by(WebPageTrigger)) else set()
    if settings.serves_docs:
        needed.add("fastapi-offline")
    if is_installed():
        needed |= {"graphql-core", "strawberry-graphql"}
    streams = settings.aws_streaming or is_deployed_with_stream()
    wanted = Wanted(
        processor, settings.aws_handler, needed, group or (), extra or (), streams, not no_check, layer or ()
    )
    with progress_line() as progress, _hinting_at(unknown):
        built = build_package(output, wanted, progress)
    for entry in sorted(built.entries, key=lambda entry: entry.name) if explain else ():
        reason = entry.reason if isinstance(entry, Included) else f"left out: {entry.reason}"
        print(f"{entry.name}: {reason}")
    for line in summary(built.entries):
        print(line, file=sys.stderr)
    for warning in built.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    size = f"{built.zipped / 2**20:.1f} MB, {built.unzipped / 2**20:.1f} MB unzipped"
    checked = "" if no_check else "; it starts"
    print(f"wrote {output} for {processor}: {size}{checked}", file=sys.stderr)
