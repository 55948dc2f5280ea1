"""Where settings come from: environment variables and the files that they name."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from pydantic import AliasChoices
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

from servey.core.errors import ConfigError, without_passwords
from servey.core.settings.redis_urls import redis_url_problem

logger: logging.Logger = logging.getLogger("servey")


class FileSource(PydanticBaseSettingsSource):
    """Reads settings from files, the way container engines provide secrets: JWT_SECRET_KEY_FILE holds a path.

    Only variables that start with ``prefix`` are read.
    """

    def __init__(self, settings_cls: type[BaseSettings], prefix: str = "") -> None:
        super().__init__(settings_cls)
        self._prefix = prefix

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the content of a setting's file. Errors: ConfigError if it is unreadable, or the value is set too."""
        names = names_of(field_name, field)
        if field_name == "env":
            return None, names[0], False  # SERVEY_ENV_FILE is a setting of its own
        read = [name for name in names if name.startswith(self._prefix)]
        for name in read:
            place = os.environ.get(f"{name}_FILE")
            if not place:
                continue
            twin = next((each for each in read if each in os.environ), None)
            if twin is not None:
                raise ConfigError(f"setting {twin}: {name}_FILE is set too; keep one of them")
            try:
                text = Path(place).read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
                raise ConfigError(f"setting {name}_FILE: {place} cannot be read: {reason}") from None
            return text, names[0], False
        return None, names[0], False

    def __call__(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for field_name, field in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field, field_name)
            if value is not None:
                found[key if field.validation_alias else field_name] = value
        return found


def setting_sources(
    settings_cls: type[BaseSettings],
    arguments: PydanticBaseSettingsSource,
    env: PydanticBaseSettingsSource,
    prefix: str,
) -> tuple[PydanticBaseSettingsSource, ...]:
    """Return the sources by priority: arguments, environment variables, files named by `_FILE` variables.

    Only variables that start with ``prefix`` are read.
    """
    if prefix and isinstance(env, EnvSettingsSource):
        env.env_vars = {name: value for name, value in env.env_vars.items() if name.upper().startswith(prefix)}
    return arguments, env, FileSource(settings_cls, prefix)


def names_of(field_name: str, field: FieldInfo) -> list[str]:
    """Return the environment variables of a setting, by priority."""
    alias = field.validation_alias
    return (
        [str(each) for each in alias.choices] if isinstance(alias, AliasChoices) else [f"SERVEY_{field_name.upper()}"]
    )


def names_without_prefix(fields: Mapping[str, FieldInfo]) -> set[str]:
    """Return the variables without the prefix SERVEY_, which a host may use for itself."""
    names = {each for name, field in fields.items() for each in names_of(name, field) if not each.startswith("SERVEY_")}
    return names | {f"{name}_FILE" for name in names}


def host_names_in(value: tuple[str, ...]) -> tuple[str, ...]:
    """Return host names in lower case. Errors: ValueError for what is no host name or wildcard."""
    names = tuple(each.lower().strip("[]").removesuffix(".") for each in value)
    for name in names:
        is_address = name.count(":") > 1
        if not name or re.search(r"[/@\s]", name) or (":" in name and not is_address) or "*" in name[1:]:
            raise ValueError("write host names without scheme, port and path, e.g. shop.example,*.shop.example")
        if name.startswith("*") and name != "*" and not name.startswith("*."):
            raise ValueError("write a wildcard as *.shop.example")
    return names


_warned: set[str] = set()


def token_schemes_in(value: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of token schemes. Errors: ValueError for none, and for one that is not a token (RFC 9110)."""
    if not value or not all(re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", each) for each in value):
        raise ValueError("write one name or more, e.g. Bearer,Token")
    return value


def warn_of_unknown(fields: Mapping[str, FieldInfo]) -> None:
    """Log a warning, once for each, for variables that start with SERVEY_ and are no settings."""
    known = {each for name, field in fields.items() for each in names_of(name, field)}
    for variable in sorted(os.environ):
        name = variable.removesuffix("_FILE")
        if not variable.startswith("SERVEY_") or {name, variable} & known or variable in _warned:
            continue
        _warned.add(variable)
        close = get_close_matches(name, known, n=1, cutoff=0.7)
        logger.warning("%s is not a setting%s", variable, f"; did you mean {close[0]}?" if close else "")


def project_name() -> str:
    """Return the project's name: the one in pyproject.toml, or that of the working directory.

    Characters that a namespace cannot have become '-'. The name of a root directory is empty; then it is 'servey'.
    """
    folder = Path.cwd()
    name: Any = None
    if not (folder / "pyproject.toml").exists():
        return _as_name(folder.name)
    import tomllib

    try:
        data = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
        name = data.get("project", {}).get("name")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, AttributeError):
        pass
    return _as_name(name if isinstance(name, str) and name else folder.name)


def _as_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:63] or "servey"


def problem_text(item: Any, fields: Mapping[str, FieldInfo]) -> str:
    """Return one validation error of the settings as text, without secrets."""
    name = str(item["loc"][0]) if item["loc"] else "settings"
    variable = name if name.isupper() else f"SERVEY_{name.upper()}"
    names, field = [variable], None
    for field_name, each in fields.items():
        if variable in names_of(field_name, each):
            names, field = names_of(field_name, each), each
    # A file may contain a secret, whatever the setting.
    from_file = any(f"{each}_FILE" in os.environ for each in names)
    is_secret = "KEY" in variable or (field is not None and not field.repr)
    shown = "" if is_secret or from_file else f", not {without_passwords(repr(item['input']))}"
    return f"setting {variable}: {item['msg']}{shown}"


def redis_url_with_password(value: str | None, password: str | None) -> str | None:
    """Return a Redis URL with a password that is set apart from it. Errors: ValueError if it is not a Redis URL."""
    if not value:
        return None
    problem = redis_url_problem(value)
    if problem is not None:
        raise ValueError(problem)
    parts = urlsplit(value)
    if not password or parts.password is not None or parts.scheme == "unix":
        return value
    user, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user.rstrip(':')}:{quote(password, safe='')}@{host}").geturl()
