"""The command `new`: create a project."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from servey.cli.output import fail


class Template(StrEnum):
    """What a new project begins with: two actions, or a database with users."""

    BASIC = "basic"
    DATABASE = "database"


_FOLDERS = {Template.BASIC: "new_project", Template.DATABASE: "new_database"}
_MAY_BE_THERE = {".git", ".venv", "venv"}
"""What a folder for a new project may have already, since Servey itself may be installed there."""
_NEXT = {
    Template.BASIC: "servey dev\n  python -m unittest discover -s tests",
    Template.DATABASE: "pip install -r requirements.txt\n  servey dev\n  python -m pytest",
}


def new(
    folder: Annotated[Path, typer.Argument(help="an empty or new folder; .git and .venv do not matter")],
    template: Annotated[
        Template, typer.Option(help="two actions, or a database with users, jobs and events")
    ] = Template.BASIC,
) -> None:
    """Create a small project with tests."""
    if folder.exists() and (not folder.is_dir() or any(path.name not in _MAY_BE_THERE for path in folder.iterdir())):
        fail(f"{folder} exists and is not an empty folder", 1)
    copied = Path(__file__).parent.parent / _FOLDERS[template]
    for source in sorted(copied.rglob("*")):
        if source.is_file() and source.suffix != ".pyc":
            target = folder / source.relative_to(copied).with_suffix("" if source.suffix == ".txt" else source.suffix)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    enter = "" if folder.resolve() == Path.cwd() else f"  cd {shlex.quote(str(folder))}\n"
    print(f"Created a project in {folder}. Next:\n{enter}  {_NEXT[template]}")
