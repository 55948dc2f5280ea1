"""The command `mcp`: serve the project's tools to an agent on this machine."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from servey.cli.output import AppPlace, fail, use_app

if TYPE_CHECKING:
    from servey.mcp.server import Server
    from servey.project import Project


def mcp(
    token: Annotated[str | None, typer.Option(help="call with this bearer token")] = None,
    anonymous: Annotated[bool, typer.Option("--anonymous", help="call without a token, with access control")] = False,
    folder: Annotated[Path | None, typer.Option(help="the project's folder; by default the current one")] = None,
    config: Annotated[bool, typer.Option("--config", help="print the configuration for agents, and exit")] = False,
    app: AppPlace = None,
) -> None:
    """Serve the project's MCP tools to an agent that starts this command: messages on standard input and output.

    Without --token or --anonymous the agent is the trusted operator: access control does not apply, and an injected
    Authorization is None. What actions print goes to standard error.
    """
    from servey.mcp.offers import offers_of
    from servey.mcp.server import Server
    from servey.project import load_project

    if token is not None and anonymous:
        fail("use either --token or --anonymous, not both", 2)
    if folder is not None:
        if not folder.is_dir():
            fail(f"--folder: there is no folder '{folder}'", 2)
        os.chdir(folder)
    if config or sys.stdin.isatty():
        print(_configuration(app, anonymous=anonymous), file=sys.stdout if config else sys.stderr)
    if config:
        return
    use_app(app)
    project = load_project()
    runtime = project.required.runtime
    offers = offers_of(runtime, has_request=False)
    if offers.is_empty:
        fail("nothing is offered over MCP; add MCP_TOOL to an action's triggers, or set SERVEY_MCP=web", 1)
    server = Server(runtime, offers, runtime.settings.mcp_path)
    sys.stdout.flush()
    # Only messages may be on standard output, whatever actions and the programs that they start print.
    with open(os.dup(0), "rb") as lines, open(os.dup(1), "wb") as output, redirect_stdout(sys.stderr):
        os.dup2(2, 1)
        asyncio.run(_serve(project, server, lines, output, token, trusted=token is None and not anonymous))


def _configuration(app: str | None, *, anonymous: bool) -> str:
    """Return the entry of this project as most agents' configuration files have it."""
    words = ["-m", "servey", "mcp", "--folder", os.getcwd(), *(["--app", app] if app else [])]
    server = {"command": sys.executable, "args": [*words, *(["--anonymous"] if anonymous else [])]}
    return json.dumps({"mcpServers": {Path.cwd().name or "servey": server}}, indent=2)


async def _serve(
    project: Project, server: Server, lines: BinaryIO, output: BinaryIO, token: str | None, *, trusted: bool
) -> None:
    from servey.jobs.service import jobs_and_schedules_here, jobs_here
    from servey.mcp.stdio import serve_stdio

    def write(message: bytes) -> None:
        with suppress(BrokenPipeError):  # the agent has gone, and the input ends
            output.write(message)
            output.flush()

    runtime = project.required.runtime
    # This process runs the jobs that calls enqueue, but no schedules.
    runtime.services[:] = [jobs_here if each is jobs_and_schedules_here else each for each in runtime.services]
    async with project.lifespan(), runtime.lifespan():
        await serve_stdio(server, lines, write, token=token, trusted=trusted)
