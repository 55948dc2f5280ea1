"""What calls an action: triggers are facts, and each transport asks the catalog for its own kind."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from math import inf
from zoneinfo import ZoneInfo

from servey.errors import ConfigError


class WebTriggerMethod(StrEnum):
    """The HTTP methods that an action can answer."""

    GET = "GET"
    HEAD = "HEAD"
    DELETE = "DELETE"
    OPTIONS = "OPTIONS"
    POST = "POST"
    PUT = "PUT"
    PATCH = "PATCH"


BODY_METHODS = frozenset({WebTriggerMethod.POST, WebTriggerMethod.PUT, WebTriggerMethod.PATCH})
"""Methods whose parameters come from the request's body; the others take theirs from the query string."""

UPDATE_METHODS = BODY_METHODS | {WebTriggerMethod.DELETE}
"""Methods that change something."""


@dataclass(frozen=True)
class WebTrigger:
    """Exposes an action as a REST route.

    ``path`` is ``/actions/{name-with-dashes}`` unless given; it may hold parameters, as ``/users/{user_id}``.
    """

    method: WebTriggerMethod
    path: str | None

    def __init__(self, method: WebTriggerMethod | str = WebTriggerMethod.POST, path: str | None = None) -> None:
        # Plain strings are welcome: WebTrigger("GET") says the same as WebTrigger(WebTriggerMethod.GET).
        object.__setattr__(self, "method", WebTriggerMethod(method))
        object.__setattr__(self, "path", path)


WEB_GET = WebTrigger(WebTriggerMethod.GET)
WEB_POST = WebTrigger(WebTriggerMethod.POST)


@dataclass(frozen=True)
class WebPageTrigger:
    """Exposes an action as a web page, rendered from a template.

    ``path`` is ``/{name-with-dashes}`` and ``template_name`` is ``{name}.j2`` unless given.
    """

    method: WebTriggerMethod
    path: str | None
    template_name: str | None

    def __init__(
        self,
        method: WebTriggerMethod | str = WebTriggerMethod.GET,
        path: str | None = None,
        template_name: str | None = None,
    ) -> None:
        object.__setattr__(self, "method", WebTriggerMethod(method))
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "template_name", template_name)


PAGE_GET = WebPageTrigger(WebTriggerMethod.GET)

SHORTEST_INTERVAL = 0.5


@dataclass(frozen=True)
class FixedRateTrigger:
    """Runs an action at every multiple of ``interval`` since 1970-01-01 UTC, once for each, whatever runs it.

    Units: ``interval`` in seconds, or a ``timedelta``; half a second at least.
    Errors: ConfigError.
    """

    interval: float

    def __init__(self, interval: float | timedelta) -> None:
        seconds = interval.total_seconds() if isinstance(interval, timedelta) else interval
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not SHORTEST_INTERVAL <= seconds < inf:
            raise ConfigError(f"FixedRateTrigger({interval!r}): give {SHORTEST_INTERVAL} seconds or more")
        object.__setattr__(self, "interval", float(seconds))


@dataclass(frozen=True)
class CronTrigger:
    """Runs an action when a cron expression of five fields says so, in a time zone.

    Source: crontab(5); the IANA time zone database.
    Errors: ConfigError for a time zone that is not there.
    """

    expression: str
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        if len(self.expression.split()) != 5:
            raise ConfigError(f"CronTrigger({self.expression!r}): write five fields, e.g. '*/5 * * * *'")
        try:
            ZoneInfo(self.timezone)
        except (KeyError, ValueError, OSError):
            raise ConfigError(f"CronTrigger: there is no time zone {self.timezone!r}, e.g. 'Europe/Berlin'") from None
