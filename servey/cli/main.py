"""The command line as a whole: its commands, and how it ends."""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

try:
    import typer
except ImportError:
    sys.exit('The command line needs Servey\'s extra "standard"; in a clone: pip install -e ".[standard]"')

from servey import __version__
from servey.cli import aws, call, describe, doctor, jobs, new, serve
from servey.cli.output import fail
from servey.errors import ConfigError

cli = typer.Typer(
    name="servey",
    help="Serve, call and describe the actions of the project in this folder.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
cli.command()(serve.dev)
cli.command(name="run")(serve.run_server)
cli.command()(serve.worker)
cli.command()(call.call)
cli.command()(describe.actions)
cli.command()(describe.openapi)
cli.command()(describe.asyncapi)
cli.command(name="graphql-schema")(describe.graphql_schema)
cli.add_typer(jobs.jobs)
cli.command()(new.new)
cli.command()(doctor.doctor)
cli.command()(aws.sls)
cli.command()(aws.package)


def main() -> None:
    """Runs the command that the process was started with."""
    run(sys.argv[1:])


def run(words: list[str]) -> NoReturn:
    """Runs one command and ends the process with its exit code."""
    try:
        cli(_modern(words), prog_name="servey")
    except ConfigError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has enough of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(0)


def _modern(words: list[str]) -> list[str]:
    """Today's spelling of ``--run=server|action|openapi|sls --action=... --event=...``."""
    options: dict[str, str] = {}
    for word in words:
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            options[name] = value
    if "run" not in options:
        return words
    what = options["run"]
    if what == "action" and options.get("action"):
        return ["call", options["action"], *(["--event", options["event"]] if "event" in options else [])]
    if what in _MODERN:
        return [_MODERN[what]]
    known = ", ".join(f"--run={name}" for name in _MODERN)
    fail(f"--run={what}: use {known}, or --run=action with --action=NAME", 2)


_MODERN = {
    "server": "dev",
    "openapi": "openapi",
    "sls": "sls",
    "graphql-schema": "graphql-schema",
}
"""What ``--run`` says, with today's command for it."""


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"servey {__version__}")
        raise typer.Exit()


@cli.callback()
def servey(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="print the version and exit")
    ] = False,
) -> None:
    """Serve, call and describe the actions of the project in this folder."""
