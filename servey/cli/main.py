"""The command line: its commands and exit codes."""

from __future__ import annotations

import platform
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, NoReturn

try:
    import typer
except ImportError:
    sys.exit('error: the command line needs the extra "standard"; in a clone: pip install -e ".[standard]"')

from servey.cli import aws, call, dashboard, describe, doctor, guide, jobs, kubernetes, mcp, migrate5, new, serve
from servey.cli.output import fail
from servey.cli.streams import decoded, drop_output, error_text, prepare_streams
from servey.core.errors import ConfigError, why_missing
from servey.core.settings.env_file import read_env_file
from servey.core.version import __version__

cli: typer.Typer = typer.Typer(
    name="servey",
    help="Serve, call and describe the actions of the project in this folder.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
# A list of commands cuts what is longer than 58 characters.
cli.command(short_help="Serve for development, with reload.")(serve.dev)
cli.command(name="run")(serve.run_server)
cli.command()(serve.worker)
cli.command(short_help="Call one action and print its result as JSON.")(call.call)
cli.command(short_help="Serve the MCP tools to an agent on this machine.")(mcp.mcp)
cli.command(short_help="List every action: where it is exposed, who may call it.")(describe.actions)
cli.command()(describe.openapi)
cli.command(short_help="Write the AsyncAPI document of the event channels.")(describe.asyncapi)
cli.command(name="graphql-schema")(describe.graphql_schema)
cli.add_typer(jobs.jobs, short_help="List and change jobs and queues.")
cli.add_typer(dashboard.dashboard, name="dashboard", short_help="Print a dashboard or alert rules for the metrics.")
cli.command()(new.new)
cli.command(short_help="Print how to write apps, for an agent.")(guide.guide)
cli.command(short_help="Say what to change in a project of servey 5.")(migrate5.migrate5)
cli.command(short_help="Show every setting, and check the services.")(doctor.doctor)
cli.command(short_help="Write the Serverless Framework files.")(aws.sls)
cli.command(short_help="Build the zip of the Lambda function, and prove it.")(aws.package)
cli.command()(kubernetes.kubernetes)


def main() -> None:
    """Run the command in `sys.argv`."""
    run(sys.argv[1:])


def run(words: list[str]) -> NoReturn:
    """Run one command and exit with its exit code."""
    prepare_streams()
    try:
        words = decoded(words)
    except UnicodeDecodeError:
        fail("an argument is not UTF-8", 2)
    try:
        try:
            cli(_modern(words), prog_name="servey")
        finally:
            sys.stdout.flush()
    except ConfigError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        sys.exit(1)
    except ModuleNotFoundError as error:
        text = why_missing(error)
        if text is None:
            raise
        fail(text, 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output closed the pipe.
        drop_output()
        sys.exit(1)
    except OSError as error:
        drop_output()
        fail(error_text(error), 1)
    sys.exit(0)


def _modern(words: list[str]) -> list[str]:
    """Translate ``--run=server|action|openapi|sls --action=... --event=...`` of servey 5 to a command."""
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
"""Values of ``--run`` with the command for each."""


_PARTS = (
    "fastapi", "starlette", "pydantic", "uvicorn", "strawberry-graphql", "graphql-core", "arq", "redis", "mangum", "boto3",
)  # fmt: skip
"""The packages whose versions `servey --version` prints, if they are installed."""


def _show_version(wanted: bool) -> None:
    if not wanted:
        return
    print(f"servey {__version__}")
    print(f"python {platform.python_version()}")
    for name in _PARTS:
        with suppress(PackageNotFoundError):
            print(f"{name} {version(name)}")
    raise typer.Exit()


@cli.callback()
def servey(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_show_version,
            is_eager=True,
            help="print the versions of Servey and its parts, and exit",
        ),
    ] = False,
) -> None:
    """Serve, call and describe the actions of the project in this folder."""
    read_env_file()
