"""Reads environment variables from a file of lines ``NAME=value``."""

from __future__ import annotations

import os
from io import StringIO
from pathlib import Path

from servey.core.errors import ConfigError
from servey.core.settings import Settings
from servey.core.settings.sources import names_of

VARIABLE = "SERVEY_ENV_FILE"
DEFAULT = ".env"


def read_env_file(*, default: bool = False) -> None:
    """Set the variables of the file that SERVEY_ENV_FILE names; with ``default``, those of .env if it names none.

    What the environment has already wins, also under another name of the same setting. A missing .env is no error.
    Errors: ConfigError for a file that is named and cannot be read, and for each line that cannot be parsed.
    """
    named = os.environ.get(VARIABLE)
    if not named and not (default and Path(DEFAULT).is_file()):
        return
    place = named or DEFAULT
    try:
        text = Path(place).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(
            f"{VARIABLE if named else 'the environment file'}: {place} cannot be read: {reason}"
        ) from None
    taken = _taken()
    for name, value in _parsed(text, place).items():
        if name not in taken:
            os.environ[name] = value


def _parsed(text: str, place: str) -> dict[str, str]:
    from dotenv import dotenv_values  # imported here, since most processes read no such file
    from dotenv.parser import parse_stream

    lines = [each for each in parse_stream(StringIO(text)) if each.error or (each.key and each.value is None)]
    if lines:
        # The line itself may contain a secret.
        raise ConfigError(f"{place}, line {each.original.line}: write NAME=value" for each in lines)
    return {name: value for name, value in dotenv_values(stream=StringIO(text)).items() if value is not None}


def _taken() -> set[str]:
    """Return the variables that are set, with all names of a setting that one of them sets."""
    taken = set(os.environ)
    for field_name, field in Settings.model_fields.items():
        names = names_of(field_name, field)
        names = [*names, *(f"{name}_FILE" for name in names if name != "SERVEY_ENV")]
        if taken & set(names):
            taken.update(names)
    return taken
