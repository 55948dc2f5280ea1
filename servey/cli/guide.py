"""The command `guide`: what an agent has to know to write an app."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_PACKAGE = Path(__file__).parent.parent


def guide(
    agents: Annotated[bool, typer.Option("--agents", help="print an AGENTS.md for the project instead")] = False,
    index: Annotated[
        bool, typer.Option("--index", help="print an index of the documentation (llms.txt) instead")
    ] = False,
) -> None:
    """Print how to write apps, for an agent: a skill (SKILL.md), with examples."""
    name = "new_project/AGENTS.md" if agents else "guide/llms.txt" if index else "guide/SKILL.md"
    print((_PACKAGE / name).read_text(encoding="utf-8"), end="")
