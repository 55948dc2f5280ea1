"""Deploying a project to AWS: its definitions, its package."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from servey.cli.output import fail

Check = Annotated[bool, typer.Option("--check", help="write nothing; the exit code is 1 where a file would change")]


def sls(check: Check = False) -> None:
    """Write serverless.yml and what it includes from serverless_servey/; they change only where the project did."""
    from servey.app import create_app
    from servey.settings import Settings
    from servey.sls import serverless
    from servey.sls.stack import build_stack

    settings = Settings()
    stack = build_stack(create_app(settings=settings))
    changed = serverless.changes(serverless.wanted_files(stack, settings.serverless_yml))
    if check and changed:
        fail(f"run `servey sls`: {', '.join(changed)} would change", 1)
    serverless.write(changed)
    for name, text in changed.items():
        print(f"{'removed' if text is None else 'wrote'} {name}", file=sys.stderr)
