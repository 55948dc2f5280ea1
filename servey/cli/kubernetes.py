"""The command `kubernetes`: manifests of web servers and workers."""

from __future__ import annotations

from typing import Annotated

import typer

from servey.cli.output import Output, write


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
) -> None:
    """Print Kubernetes manifests. Times come from the settings here: SERVEY_DRAIN, SERVEY_GRACE, SERVEY_JOB_GRACE."""
    from servey.core.settings import Settings
    from servey.kubernetes import Deployed, as_yaml, manifests

    deployed = Deployed(name, image, secret or name, replicas, most_replicas, workers, migrate, prometheus)
    write(output, as_yaml(manifests(deployed, Settings())))
