"""Commands that run a project: `dev`, `run`, `worker`."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

import typer

from servey.cli.output import AppPlace, fail, use_app

App = Annotated[str | None, typer.Argument(help="the app, as module:name; by default the actions of this folder")]
Host = Annotated[str | None, typer.Option(help="address to listen on [default: SERVEY_HOST, 127.0.0.1]")]
Port = Annotated[int | None, typer.Option(min=0, max=65535, help="port to listen on [default: SERVEY_PORT, 8000]")]


def dev(app: App = None, host: Host = None, port: Port = None, named: AppPlace = None) -> None:
    """Serve for development: reload on change, documentation pages, a random key for tokens."""
    use_app(named or app)
    _server().serve_dev(host, port)


def run_server(
    app: App = None,
    host: Host = None,
    port: Port = None,
    workers: Annotated[int, typer.Option(min=1, help="server processes")] = 1,
    uds: Annotated[str | None, typer.Option(metavar="PATH", help="Unix socket to listen on instead of a port")] = None,
    fd: Annotated[
        int | None, typer.Option(min=0, help="open socket to listen on, by its number; systemd's first one is 3")
    ] = None,
    root_path: Annotated[
        str | None, typer.Option(metavar="PATH", help="path prefix of the reverse proxy [default: SERVEY_ROOT_PATH]")
    ] = None,
    server: Annotated[
        Literal["uvicorn", "granian"], typer.Option(help="HTTP server; granian needs the extra of that name")
    ] = "uvicorn",
    named: AppPlace = None,
) -> None:
    """Serve for production; unsafe settings are refused."""
    use_app(named or app)
    if root_path is not None:
        os.environ["SERVEY_ROOT_PATH"] = root_path
    _server().serve(host, port, workers, uds=uds, fd=fd, by_granian=server == "granian")


def worker(
    app: App = None,
    processes: Annotated[int, typer.Option(min=1, help="worker processes")] = 1,
    queues: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[=WEIGHT],...", help="queues to read, e.g. mail=3,default [default: SERVEY_JOB_QUEUES]"
        ),
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="jobs that run at once in a process [default: SERVEY_JOB_CONCURRENCY, 50]")
    ] = None,
    named: AppPlace = None,
) -> None:
    """Run jobs and schedules from the Redis in SERVEY_REDIS_URL. After SIGTERM, running jobs finish first."""
    from servey.worker import serve_workers

    use_app(named or app)
    serve_workers(processes, queues=queues, concurrency=concurrency)


def _server() -> Any:
    try:
        from servey import server
    except ModuleNotFoundError as error:
        if error.name != "uvicorn":
            raise
        fail('the server needs the extra "standard"; in a clone: pip install -e ".[standard]"', 1)
    return server
