"""What an app is set to, and whether what it depends on answers."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

from servey.cli.output import print_table

if TYPE_CHECKING:
    from servey.runtime import Runtime
    from servey.settings import Settings


def doctor() -> None:
    """Show every setting and where it comes from, and whether what the project depends on answers.

    The exit code is 1 where something does not, or where the project may not serve as it is set.
    """
    from servey.app import build_runtime
    from servey.settings import Settings

    settings = Settings()
    print_table([("SETTING", "FROM", "VALUE"), *_setting_rows(settings)])
    runtime = build_runtime(settings)
    rows, healthy = asyncio.run(_part_rows(runtime))
    print()
    print_table([("PART", "STATE"), *rows])
    sys.exit(0 if healthy else 1)


def _setting_rows(settings: Settings) -> list[tuple[str, ...]]:
    from servey.settings import names_of

    rows: list[tuple[str, ...]] = []
    for name, field in type(settings).model_fields.items():
        names = names_of(name, field)
        used = next((each for known in names for each in (known, f"{known}_FILE") if each in os.environ), None)
        value = getattr(settings, name)
        # A secret is a setting that does not show itself.
        shown = "(set)" if not field.repr and value is not None else _text(value)
        origin = "default" if used is None else "file" if used not in names else "environment"
        rows.append((used or names[0], origin, shown))
    return rows


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(value) or "-"
    return "-" if value in (None, "") else str(int(value) if isinstance(value, bool) else value)


async def _part_rows(runtime: Runtime) -> tuple[list[tuple[str, ...]], bool]:
    from servey.condition import check_parts
    from servey.errors import ConfigError

    catalog = runtime.catalog
    found: dict[str, str | None] = {f"{len(catalog.actions)} actions, {len(catalog.channels)} channels": None}
    try:
        runtime.check_settings()
        found["settings"] = None
    except ConfigError as error:
        found["settings"] = "; ".join(error.problems)
    found |= await check_parts(runtime)
    rows: list[tuple[str, ...]] = [(name, f"error: {problem}" if problem else "ok") for name, problem in found.items()]
    return rows, not any(found.values())
