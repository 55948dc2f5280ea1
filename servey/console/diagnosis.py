"""The settings of an app with their sources, and the problems of its parts: for ``servey doctor`` and the console."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from servey.core.errors import ConfigError, without_passwords
from servey.core.settings import Settings
from servey.core.settings.sources import names_of
from servey.runtime.health import check_parts
from servey.runtime.runtime import Runtime


@dataclass(frozen=True)
class SettingRow:
    """One setting: its variable, where its value is from, and the value; secrets are ``(set)``."""

    variable: str
    origin: str
    value: str
    description: str


def setting_rows(settings: Settings) -> list[SettingRow]:
    """Return every setting; ``origin`` is default, environment or file."""
    rows: list[SettingRow] = []
    for name, field in type(settings).model_fields.items():
        names = names_of(name, field)
        files = [] if name == "env" else [f"{each}_FILE" for each in names]
        used = next((each for each in (*names, *files) if each in os.environ), None)
        value = getattr(settings, name)
        origin = "default" if used is None else "file" if used not in names else "environment"
        # Secret settings have repr=False. A file may contain a secret, whatever the setting.
        is_secret = (not field.repr or origin == "file") and value is not None
        shown = "(set)" if is_secret else without_passwords(_text(value))
        rows.append(SettingRow(used or names[0], origin, shown, field.description or ""))
    return rows


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(value) or "-"
    return "-" if value in (None, "") else str(int(value) if isinstance(value, bool) else value)


async def part_problems(runtime: Runtime) -> dict[str, str | None]:
    """Return the problem of the settings and of each part in use; None if there is none."""
    found: dict[str, str | None] = {}
    try:
        runtime.check_settings()
        found["settings"] = None
    except ConfigError as error:
        found["settings"] = "; ".join(error.problems)
    found |= await check_parts(runtime)
    return {name: without_passwords(problem) if problem else None for name, problem in found.items()}
