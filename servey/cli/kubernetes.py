"""The command `kubernetes`: manifests of web servers and workers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from servey.cli.output import AppPlace, Output, use_app, write


def kubernetes(
    image: Annotated[str, typer.Option(help="image of the project, e.g. that of docker/Dockerfile, with its tag")],
    name: Annotated[str, typer.Option(help="name of the app and prefix of all names")] = "servey",
    secret: Annotated[
        str | None, typer.Option(help="Secret whose keys are environment variables [default: the name of the app]")
    ] = None,
    replicas: Annotated[int, typer.Option(min=1, help="web servers at least")] = 2,
    most_replicas: Annotated[int, typer.Option(min=1, help="web servers, and workers under KEDA, at most")] = 10,
    workers: Annotated[int, typer.Option(min=0, help="workers at least; 0 for an app without jobs")] = 1,
    migrate: Annotated[
        str | None, typer.Option(metavar="COMMAND", help="also print a Job that runs a command, e.g. a migration")
    ] = None,
    prometheus: Annotated[
        str | None, typer.Option(metavar="URL", help="also print a KEDA ScaledObject that reads this Prometheus")
    ] = None,
    output: Output = "-",
    app: AppPlace = None,
) -> None:
    """Print Kubernetes manifests. Times come from the settings here: SERVEY_DRAIN, SERVEY_GRACE, SERVEY_JOB_GRACE."""
    from servey.core.settings import Settings
    from servey.kubernetes import Deployed, as_yaml, check_workers, manifests
    from servey.project import load_project

    named = name if secret is None else secret
    deployed = Deployed(name, image, named, replicas, most_replicas, workers, migrate, prometheus)
    found = manifests(deployed, Settings())
    if not workers:
        use_app(app)
        check_workers(deployed, load_project().required.runtime.catalog)
    if migrate is None and Path("alembic.ini").exists():
        print("warning: no Job migrates the database; for that, add --migrate 'alembic upgrade head'", file=sys.stderr)
    write(output, as_yaml(found))
