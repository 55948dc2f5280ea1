"""The command `new`: create a project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from servey.cli.output import fail


def new(folder: Annotated[Path, typer.Argument(help="an empty or new folder")]) -> None:
    """Create a small project with tests."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        fail(f"{folder} exists and is not an empty folder", 1)
    template = Path(__file__).parent.parent / "new_project"
    for source in sorted(template.rglob("*")):
        if source.is_file() and source.suffix != ".pyc":
            target = folder / source.relative_to(template).with_suffix("" if source.suffix == ".txt" else source.suffix)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    print(f"Created a project in {folder}. Next:\n  cd {folder}\n  servey dev\n  python -m unittest discover -s tests")
