"""Serving a project: for development, for production."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from servey.cli.output import fail

App = Annotated[str | None, typer.Argument(help="module:attribute of an app; by default the actions that are found")]
Host = Annotated[str | None, typer.Option(help="address to listen on [default: SERVEY_HOST, 127.0.0.1]")]
Port = Annotated[int | None, typer.Option(help="port to listen on [default: SERVEY_PORT, 8000]")]


def dev(app: App = None, host: Host = None, port: Port = None) -> None:
    """Serve for development: reload on change, documentation pages, a key of its own for tokens."""
    _server().serve_dev(app, host, port)


def run_server(
    app: App = None,
    host: Host = None,
    port: Port = None,
    workers: Annotated[int, typer.Option(min=1, help="server processes")] = 1,
) -> None:
    """Serve for production; refuses settings that are not safe."""
    _server().serve(app, host, port, workers)


def worker(
    processes: Annotated[int, typer.Option(min=1, help="worker processes")] = 1,
) -> None:
    """Work on jobs and schedules, from the Redis that SERVEY_REDIS_URL names. Asked to end, it finishes what runs."""
    from servey.worker import serve_workers

    serve_workers(processes)


def _server() -> Any:
    try:
        from servey import server
    except ModuleNotFoundError as error:
        if error.name != "uvicorn":
            raise
        fail('serving needs Servey\'s extra "standard"; in a clone: pip install -e ".[standard]"', 1)
    return server
