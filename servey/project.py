"""Loads the app of the project in the working directory: the same one for every command."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.routing import Mount

from servey.app import INSTALLED, Servey, create_app
from servey.core.catalog import import_problems
from servey.core.errors import ConfigError
from servey.core.settings import Settings

DEFAULT_NAME = "servey_app"


@dataclass(frozen=True)
class Project:
    """An app and the Servey app in it; both are the same unless Servey is installed or mounted in a host.

    Shape: ``servey`` is None for an app without Servey.
    """

    app: Any
    servey: Servey | None

    @property
    def required(self) -> Servey:
        """The Servey app. Errors: ConfigError if there is none."""
        if self.servey is None:
            raise ConfigError(
                f"the app is {type(self.app).__name__} without Servey; call Servey(...).install(app), or mount a Servey app"
            )
        return self.servey

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Run the user's lifespan, without the server's part of it: for a process that makes calls by itself."""
        if self.required.is_mounted_in(self.app):
            # The host's lifespan contains `servey_app.running()`.
            with self.required.only_users_lifespan():
                async with self.app.router.lifespan_context(self.app):
                    yield
        else:
            async with self.required.users_lifespan():
                yield

    def check(self) -> None:
        """Check the settings of an app that serves by itself. Errors: ConfigError."""
        if self.servey is not None:
            self.servey.check_settings()


def load_project(place: str | None = None) -> Project:
    """Return the app that ``place`` or SERVEY_APP names, else ``servey_app`` in app.py, else one of the found actions.

    Errors: ConfigError that lists every problem of the project.
    """
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.insert(0, os.getcwd())
    settings = Settings()
    named = place or settings.app
    if not named and _defines_app(Path("app.py")):
        named = f"app:{DEFAULT_NAME}"
    app: Any = _imported(named) if named else create_app(settings=settings)
    return Project(app, _servey_in(app))


def _defines_app(file: Path) -> bool:
    try:
        return re.search(rf"^{DEFAULT_NAME}\b", file.read_text(encoding="utf-8"), re.MULTILINE) is not None
    except (OSError, UnicodeDecodeError):
        return False


def _imported(place: str) -> Any:
    name, colon, attribute = place.partition(":")
    if not (name and colon and attribute):
        raise ConfigError(f"the app {place!r} is not valid; write it as module:name, e.g. app:{DEFAULT_NAME}")
    try:
        if importlib.util.find_spec(name) is None:
            raise ConfigError(f"the app {place!r}: module '{name}' does not exist in {os.getcwd()}")
        found: Any = importlib.import_module(name)
    except ConfigError as error:
        raise ConfigError(import_problems(name, error)) from error
    except (Exception, SystemExit) as error:
        raise ConfigError(import_problems(name, error)) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            apps = [key for key, value in vars(found).items() if isinstance(value, FastAPI)]
            hint = f"; it has {', '.join(apps)}" if apps else ""
            raise ConfigError(f"the app {place!r}: '{name}' has no '{attribute}'{hint}")
        found = getattr(found, part)
    if not callable(found):
        raise ConfigError(f"the app {place!r} is {found!r:.100}, not an ASGI app")
    return found


def _servey_in(app: Any) -> Servey | None:
    if isinstance(app, Servey):
        return app
    if isinstance(app, FastAPI) and app in INSTALLED:
        return INSTALLED[app]
    for route in getattr(app, "routes", ()):
        if isinstance(route, Mount) and isinstance(route.app, Servey):
            route.app.runtime.prefix = route.path
            return route.app
    return None
