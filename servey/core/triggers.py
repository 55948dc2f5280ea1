"""Triggers: they declare how an action can be called. Each transport looks up its own kind in the catalog."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from enum import StrEnum
from math import inf
from typing import Any, Literal, cast, get_args
from zoneinfo import ZoneInfo

from servey.core.errors import ConfigError


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
"""Methods whose parameters come from the request body; the others read the query string."""

UPDATE_METHODS = BODY_METHODS | {WebTriggerMethod.DELETE}
"""Methods that change state."""


def _method_of(trigger: str, method: Any) -> WebTriggerMethod:
    try:
        return WebTriggerMethod(method.upper() if isinstance(method, str) else method)
    except ValueError:
        known = [each.value for each in WebTriggerMethod]
        close = get_close_matches(str(method).upper(), known, n=1)
        advice = f"did you mean '{close[0]}'?" if close else f"use one of {', '.join(known)}"
        raise ConfigError(f"{trigger}({method!r}): {advice}") from None


def status_problem(status: Any) -> str | None:
    """Return why something cannot be the status code of a successful response, or None if it can."""
    if status is None or (type(status) is int and 200 <= status < 400 and status != 304):
        return None
    return f"status_code is {status!r}; use the code of a success, e.g. status_code=201"


HIDEABLE = ("graphql", "respond-async", "command", "mcp")
"""What an action can be hidden from: GraphQL, ``Prefer: respond-async``, ``servey call``, and tools of language models."""


def hidden_problem(hidden: Iterable[Any]) -> str | None:
    """Return what is wrong with the transports that an action is hidden from, or None."""
    for each in hidden:
        if each not in HIDEABLE:
            return f"hidden has {each!r}; use {', '.join(map(repr, HIDEABLE))}"
    return None


def _path_of(trigger: str, path: Any) -> str | None:
    if path is not None and not isinstance(path, str):
        raise ConfigError(f"{trigger}(path={path!r}): give a string that begins with '/'")
    return path


@dataclass(frozen=True)
class WebTrigger:
    """Exposes an action as a REST route.

    ``path`` defaults to ``/actions/{name-with-dashes}``; it may contain parameters, e.g. ``/users/{user_id}``.
    ``status_code`` is that of a successful response, by default the action's, or else 200.
    """

    method: WebTriggerMethod
    path: str | None
    status_code: int | None

    def __init__(
        self,
        method: WebTriggerMethod | str = WebTriggerMethod.POST,
        path: str | None = None,
        status_code: int | None = None,
    ) -> None:
        # WebTrigger("GET") is the same as WebTrigger(WebTriggerMethod.GET).
        object.__setattr__(self, "method", _method_of("WebTrigger", method))
        object.__setattr__(self, "path", _path_of("WebTrigger", path))
        problem = status_problem(status_code)
        if problem is not None:
            raise ConfigError(f"WebTrigger: {problem}")
        object.__setattr__(self, "status_code", status_code)


WEB_GET = WebTrigger(WebTriggerMethod.GET)
WEB_POST = WebTrigger(WebTriggerMethod.POST)


@dataclass(frozen=True)
class WebPageTrigger:
    """Exposes an action as a web page, rendered from a template.

    ``path`` defaults to ``/{name-with-dashes}`` and ``template_name`` to ``{name}.j2``.
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
        object.__setattr__(self, "method", _method_of("WebPageTrigger", method))
        object.__setattr__(self, "path", _path_of("WebPageTrigger", path))
        object.__setattr__(self, "template_name", template_name)


PAGE_GET = WebPageTrigger(WebTriggerMethod.GET)

SHORTEST_INTERVAL = 0.5


@dataclass(frozen=True)
class FixedRateTrigger:
    """Runs an action at every multiple of ``interval`` since 1970-01-01 UTC, once per slot with any number of workers.

    Units: ``interval`` in seconds or a ``timedelta``; at least half a second.
    Errors: ConfigError.
    """

    interval: float

    def __init__(self, interval: float | timedelta) -> None:
        seconds = interval.total_seconds() if isinstance(interval, timedelta) else interval
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not SHORTEST_INTERVAL <= seconds < inf:
            raise ConfigError(f"FixedRateTrigger({interval!r}): use {SHORTEST_INTERVAL} seconds or more")
        object.__setattr__(self, "interval", float(seconds))


@dataclass(frozen=True)
class CronTrigger:
    """Runs an action by a five-field cron expression in a time zone.

    Source: crontab(5); the IANA time zone database.
    Errors: ConfigError for an unknown time zone or a wrong number of fields.
    """

    expression: str
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        if not isinstance(cast(Any, self.expression), str) or len(self.expression.split()) != 5:
            raise ConfigError(f"CronTrigger({self.expression!r}): use five fields, e.g. '*/5 * * * *'")
        try:
            ZoneInfo(self.timezone)
        except (KeyError, ValueError, OSError):
            raise ConfigError(
                f"CronTrigger: unknown time zone {self.timezone!r}; use an IANA name, e.g. 'Europe/Berlin'"
            ) from None


McpKind = Literal["tool", "resource", "prompt"]


@dataclass(frozen=True)
class McpTrigger:
    """Offers an action to agents over MCP: as a tool that they call, a resource that they read, or a prompt for people.

    ``name`` defaults to the action's name; ``title`` is for people. ``uri`` is a resource's address; it names the action's
    parameters in braces, e.g. ``shop://orders/{order_id}``, and defaults to ``actions:///{name}/{each required parameter}``.
    ``read_only``, ``idempotent`` and ``destructive`` tell agents what a tool does; by default the methods of the action's
    web triggers do: GET is read-only, PUT idempotent, DELETE destructive. ``asks`` says that the action needs an answer of
    `Context.ask`: it is not listed to clients that cannot be asked. ``task`` says that the action runs long: it is a job for
    clients that can poll its result.
    Source: Model Context Protocol 2025-11-25, "Server Features".
    Errors: ConfigError.
    """

    kind: McpKind = "tool"
    name: str | None = None
    title: str | None = None
    uri: str | None = None
    read_only: bool | None = None
    idempotent: bool | None = None
    destructive: bool | None = None
    asks: bool = False
    task: bool = False

    def __post_init__(self) -> None:
        if self.kind not in get_args(McpKind):
            raise ConfigError(f"McpTrigger({self.kind!r}): use one of {', '.join(map(repr, get_args(McpKind)))}")
        if self.uri is not None and self.kind != "resource":
            raise ConfigError(f"McpTrigger({self.kind!r}, uri={self.uri!r}): only a resource has an address")
        hints = (self.read_only, self.idempotent, self.destructive)
        if self.kind != "tool" and any(hint is not None for hint in hints):
            raise ConfigError(f"McpTrigger({self.kind!r}): read_only, idempotent and destructive are for tools")
        if self.task and self.kind != "tool":
            raise ConfigError(f"McpTrigger({self.kind!r}, task=True): only a tool can be a task")
        if self.task and self.asks:
            raise ConfigError("McpTrigger(asks=True, task=True): a task asks nobody; use one of them")


MCP_TOOL = McpTrigger()
MCP_RESOURCE = McpTrigger("resource")
MCP_PROMPT = McpTrigger("prompt")


def trigger_advice(trigger: Any) -> str | None:
    """Return what to write instead of a value that cannot be a trigger, or None. A plugin may have triggers of its own."""
    if isinstance(trigger, type):
        return f"{trigger.__name__}(...)" if trigger is not WebTriggerMethod else "WebTrigger('GET')"
    if isinstance(trigger, str):
        return f"WebTrigger({str(trigger)!r})"
    if isinstance(trigger, int | float | timedelta) and not isinstance(trigger, bool):
        return f"FixedRateTrigger({trigger!r})"
    return "a trigger such as WEB_GET" if trigger is None or type(trigger).__module__ == "builtins" else None
