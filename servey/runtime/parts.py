"""The parts of an app that a project can replace, and their defaults.

A default is named by its import path and imported when the part is created, so an unused part costs nothing.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import dataclass
from typing import Any, TypeAlias
from weakref import ref

from servey.core.access import Authorizer, PasswordAuthenticator, TokenSource
from servey.core.errors import ConfigError, why_missing
from servey.core.queues import Queue
from servey.core.settings import Settings

Part: TypeAlias = str | Callable[[Settings], Any]
"""A callable that makes a part from the settings, or its import path, ``package.module:name``."""


@dataclass
class Parts:
    """The parts of an app. A plugin is a function that receives this object and sets its own parts."""

    authorizer: Part = "servey.auth.tokens:authorizer_of"
    token_source: Part = "servey.http.tokens:token_source_of"
    password_authenticator: Part = "servey.routers.login:password_authenticator_of"
    bus: Part = "servey.ws.bus:bus_of"
    queue: Part = "servey.jobs.queue:queue_of"
    webhook_network: Part = "servey.jobs.webhooks:network_of"
    cache: Part = "servey.caching.results:cache_of"

    def make_authorizer(self, settings: Settings) -> Authorizer:
        """Make the part that verifies tokens. Errors: ConfigError."""
        made: Authorizer = _made(self.authorizer, settings, "authorizer", "authorize")
        return made

    def make_token_source(self, settings: Settings) -> TokenSource:
        """Make the part that says where a caller's token is. Errors: ConfigError."""
        made: TokenSource = _made(self.token_source, settings, "token_source", "token_of")
        if not isinstance(getattr(made, "vary", None), tuple):
            raise ConfigError(f"the part 'token_source' made {made!r}, which has no vary, e.g. vary = ('Cookie',)")
        return made

    def make_password_authenticator(self, settings: Settings) -> PasswordAuthenticator:
        """Make the part that checks user names and passwords. Errors: ConfigError."""
        made: PasswordAuthenticator = _made(
            self.password_authenticator, settings, "password_authenticator", "authenticate"
        )
        return made

    def make_bus(self, settings: Settings) -> Any:
        """Make the part that carries events to the processes that have subscribers. Errors: ConfigError."""
        return _made(self.bus, settings, "bus", "publish")

    def make_queue(self, settings: Settings) -> Queue:
        """Make the part that stores jobs until a worker takes them. Errors: ConfigError."""
        made: Queue = _made(self.queue, settings, "queue", "enqueue")
        return made

    def make_webhook_network(self, settings: Settings) -> Any:
        """Make the httpcore network backend that delivers webhooks. Errors: ConfigError."""
        return _made(self.webhook_network, settings, "webhook_network", "connect_tcp")

    def make_cache(self, settings: Settings) -> Any:
        """Make the part that caches results on the server. Errors: ConfigError."""
        return _made(self.cache, settings, "cache", "get")


def attach(part: Any, process: object) -> None:
    """Let a part with a method ``attach(process)`` learn which app it belongs to."""
    method = getattr(part, "attach", None)
    if method is not None:
        method(process)


class PartMaker:
    """Makes the bus, the queue and the cache of an app for each of its event loops."""

    def __init__(self, parts: Parts, settings: Settings, process: object, slow: Iterable[str]) -> None:
        """``slow`` names the parts to make now, because importing their libraries would block an event loop."""
        self._make = {"bus": parts.make_bus, "queue": parts.make_queue, "cache": parts.make_cache}
        self._settings = settings
        self._process = process
        self._shared: dict[str, Any] = {}
        self._loops_of_shared: dict[str, ref[asyncio.AbstractEventLoop]] = {}
        self._prepared: dict[str, Any] = {}
        self._prepared = {name: self.make(name) for name in slow}

    def make(self, name: str) -> Any:
        """Make a part; a part with a method ``attach(process)`` learns which app it belongs to. Errors: ConfigError."""
        made = self._prepared.pop(name, None)
        if made is None:
            made = self._make[name](self._settings)
            attach(made, self._process)
        return made

    def make_for_lifespan(self, name: str) -> Any:
        """Make a part for a lifespan that runs on this event loop. It takes over the queue in memory that was used on the
        loop before, e.g. by the lifespan of a host, so that the jobs in it run.
        """
        since = self._loops_of_shared.get(name)
        if name == "queue" and since is not None and since() is asyncio.get_running_loop():
            del self._loops_of_shared[name]
            return self._shared.pop(name)
        return self.make(name)

    def make_outside(self, name: str) -> Any:
        """Make a part for a loop without a lifespan. Test clients use a new loop for each request, so an in-memory bus or
        queue is shared by all of them; connections to Redis belong to one loop.
        """
        if name == "cache" or self._settings.redis_url is not None:
            return self.make(name)
        if name not in self._shared:
            self._shared[name] = self.make(name)
            self._loops_of_shared[name] = ref(asyncio.get_running_loop())
        return self._shared[name]


def parts_of(settings: Settings, own: Parts | None = None) -> Parts:
    """The parts of an app's own, beside those that the settings select."""
    parts = Parts() if own is None else copy(own)
    # What an app replaces stays; an app that replaces one part still needs the queue of Lambda.
    if settings.kms_key_id and parts.authorizer == Parts.authorizer:
        parts.authorizer = "servey.aws.keys:authorizer_of"
    if settings.queue_url and parts.queue == Parts.queue:
        parts.queue = "servey.aws.queue:queue_of"
    if settings.websocket_endpoint and parts.bus == Parts.bus:
        parts.bus = "servey.aws.bus:bus_of"
    return parts


def has_key(parts: Parts, settings: Settings) -> bool:
    """Whether the project says how to verify tokens."""
    keys = (settings.jwt_secret_key, settings.jwt_public_key, settings.jwks_url)
    return parts.authorizer != Parts.authorizer or any(each is not None for each in keys)


def load_plugins(parts: Parts, settings: Settings) -> Parts:
    """Run the plugins that the settings name, and return the parts. Errors: ConfigError if a plugin cannot be imported."""
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.insert(0, os.getcwd())  # so that a project's own modules can be imported however it is started
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


def _why(error: Exception) -> str:
    return (isinstance(error, ImportError) and why_missing(error)) or str(error)


def _found(place: str, named_by: str) -> Callable[..., Any]:
    module, colon, name = place.partition(":")
    if not (module and colon and name):
        raise ConfigError(f"{named_by}: '{place}' is not an import path; write package.module:name")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{named_by}: '{place}' cannot be imported: {_why(error)}") from error
    if not callable(found):
        raise ConfigError(f"{named_by}: '{place}' is {found!r}, which cannot be called")
    return found  # type: ignore[no-any-return]
