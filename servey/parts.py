"""Every part of an app that can be swapped for one's own, and what stands there by default.

A default is named by its place, and imported when an app is made of it: a part that is not used costs nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from servey.access import Authorizer
from servey.errors import ConfigError
from servey.settings import Settings

Part: TypeAlias = str | Callable[[Settings], Any]
"""What makes a part from the settings: a callable, or the place of one as ``package.module:name``."""


@dataclass
class Parts:
    """What an app is made of. A plugin is a function that takes this and puts parts of its own in."""

    authorizer: Part = "servey.tokens:authorizer_of"

    def make_authorizer(self, settings: Settings) -> Authorizer:
        """The part that turns tokens into authorizations. Errors: ConfigError."""
        made: Authorizer = _made(self.authorizer, settings, "authorizer")
        if not callable(getattr(made, "authorize", None)):
            raise ConfigError(f"the part 'authorizer' made {made!r}, which has no method authorize(token)")
        return made


def load_plugins(parts: Parts, settings: Settings) -> Parts:
    """The parts as the plugins that the settings name leave them. Errors: ConfigError for one that is not there."""
    for place in settings.plugins:
        plugin = _found(place, "SERVEY_PLUGINS")
        plugin(parts)
    return parts


def _made(part: Part, settings: Settings, name: str) -> Any:
    make = _found(part, f"the part '{name}'") if isinstance(part, str) else part
    return make(settings)


def _found(place: str, named_by: str) -> Callable[..., Any]:
    module, colon, name = place.partition(":")
    if not (module and colon and name):
        raise ConfigError(f"{named_by}: '{place}' is no place; write it as package.module:name")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{named_by}: '{place}' can not be imported: {error}") from error
    if not callable(found):
        raise ConfigError(f"{named_by}: '{place}' is {found!r}, which can not be called")
    return found  # type: ignore[no-any-return]
