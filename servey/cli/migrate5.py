"""The command `migrate5`: what a project of servey 5 has to change."""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer

from servey.cli.output import fail
from servey.migrate5 import files_of, findings


def migrate5(folder: Annotated[Path, typer.Argument(help="the folder of a project for servey 5")]) -> None:
    """Say what to change in a project of servey 5, file by file; writes nothing.

    The exit code is 1 if the project cannot run without a change.
    """
    if not folder.is_dir():
        fail(f"{folder} is not a folder", 2)
    if not files_of(folder):
        fail(f"{folder} has no files of a project for servey 5", 2)
    found = findings(folder)
    for path, group in groupby(found, key=lambda finding: finding.path):
        print(path)
        for each in group:
            print(f"  {each.line}: {'' if each.is_error else 'note: '}{each.text}")
    errors = sum(finding.is_error for finding in found)
    if errors:
        print(
            f"{errors} to change, {len(found) - errors} to know; docs/from-servey-5.md lists what behaves differently"
        )
        sys.exit(1)
    print("Nothing has to change; docs/from-servey-5.md lists what behaves differently")
