"""Every part of an app that can be swapped for one's own, and what stands there by default.

A default is named by its place, and imported when an app is made of it: a part that is not used costs nothing.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from servey.access import Authorizer, PasswordAuthenticator
from servey.errors import ConfigError
from servey.queues import Queue
from servey.settings import Settings

Part: TypeAlias = str | Callable[[Settings], Any]
"""What makes a part from the settings: a callable, or the place of one as ``package.module:name``."""


@dataclass
class Parts:
    """What an app is made of. A plugin is a function that takes this and puts parts of its own in."""

    authorizer: Part = "servey.tokens:authorizer_of"
    password_authenticator: Part = "servey.routers.login:password_authenticator_of"
    bus: Part = "servey.ws.bus:bus_of"
    queue: Part = "servey.jobs.queue:queue_of"
    webhook_network: Part = "servey.jobs.webhooks:network_of"
    cache: Part = "servey.results:cache_of"

    def make_authorizer(self, settings: Settings) -> Authorizer:
        """The part that turns tokens into authorizations. Errors: ConfigError."""
        made: Authorizer = _made(self.authorizer, settings, "authorizer", "authorize")
        return made

    def make_password_authenticator(self, settings: Settings) -> PasswordAuthenticator:
        """The part that knows who logs in. Errors: ConfigError."""
        made: PasswordAuthenticator = _made(
            self.password_authenticator, settings, "password_authenticator", "authenticate"
        )
        return made

    def make_bus(self, settings: Settings) -> Any:
        """The part that carries events to the processes that have subscribers. Errors: ConfigError."""
        return _made(self.bus, settings, "bus", "publish")

    def make_queue(self, settings: Settings) -> Queue:
        """The part that keeps jobs until a worker takes them. Errors: ConfigError."""
        made: Queue = _made(self.queue, settings, "queue", "enqueue")
        return made

    def make_webhook_network(self, settings: Settings) -> Any:
        """What webhooks are delivered through: a network of httpcore's. Errors: ConfigError."""
        return _made(self.webhook_network, settings, "webhook_network", "connect_tcp")

    def make_cache(self, settings: Settings) -> Any:
        """The part that keeps results on the server. Errors: ConfigError."""
        return _made(self.cache, settings, "cache", "get")


def parts_of(settings: Settings) -> Parts:
    """The parts that the settings ask for."""
    parts = Parts()
    if settings.kms_key_id:
        parts.authorizer = "servey.aws.keys:authorizer_of"
    if settings.queue_url:
        parts.queue = "servey.aws.queue:queue_of"
    if settings.websocket_endpoint:
        parts.bus = "servey.aws.bus:bus_of"
    return parts


def load_plugins(parts: Parts, settings: Settings) -> Parts:
    """The parts as the plugins that the settings name leave them. Errors: ConfigError for one that is not there."""
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.insert(0, os.getcwd())  # a project's own modules are found from any way of starting
    for place in settings.plugins:
        plugin = _found(place, "SERVEY_PLUGINS")
        plugin(parts)
    return parts


def _made(part: Part, settings: Settings, name: str, method: str) -> Any:
    make = _found(part, f"the part '{name}'") if isinstance(part, str) else part
    made = make(settings)
    if not callable(getattr(made, method, None)):
        raise ConfigError(f"the part '{name}' made {made!r}, which has no method {method}()")
    return made


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
