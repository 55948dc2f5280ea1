"""The command `doctor`: show settings and check the services that the app depends on."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from servey.cli.output import AppPlace, print_table, use_app

if TYPE_CHECKING:
    from servey.runtime.runtime import Runtime


def doctor(app: AppPlace = None) -> None:
    """Show every setting with its source, and check the services that the project depends on.

    The exit code is 1 if a check fails, or if the settings are unsafe for production.
    """
    from servey.console.diagnosis import setting_rows
    from servey.core.settings import Settings
    from servey.project import load_project

    use_app(app)
    settings = Settings()
    rows = [(row.variable, row.origin, row.value) for row in setting_rows(settings)]
    print_table([("SETTING", "FROM", "VALUE"), *rows])
    served = load_project().required
    served.check_variables()
    parts, healthy = asyncio.run(_part_rows(served.runtime))
    print()
    print_table([("PART", "STATE"), *parts])
    sys.exit(0 if healthy else 1)


async def _part_rows(runtime: Runtime) -> tuple[list[tuple[str, ...]], bool]:
    from servey.console.diagnosis import part_problems
    from servey.development import counted

    catalog = runtime.catalog
    found: dict[str, str | None] = {counted({"action": len(catalog.actions), "channel": len(catalog.channels)}): None}
    found |= await part_problems(runtime)
    rows: list[tuple[str, ...]] = [(name, f"error: {problem}" if problem else "ok") for name, problem in found.items()]
    return rows, not any(found.values())
