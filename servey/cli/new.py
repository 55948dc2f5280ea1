"""Beginning a project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from servey.cli.output import fail


def new(folder: Annotated[Path, typer.Argument(help="a folder that is empty or not there yet")]) -> None:
    """Begin a small project that runs and whose tests pass."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        fail(f"{folder} is there already and is not an empty folder", 1)
    template = Path(__file__).parent.parent / "new_project"
    for source in sorted(template.rglob("*")):
        if source.is_file() and source.suffix != ".pyc":
            target = folder / source.relative_to(template).with_suffix("" if source.suffix == ".txt" else source.suffix)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    print(f"Made a project in {folder}. Next:\n  cd {folder}\n  servey dev\n  python -m pytest")
