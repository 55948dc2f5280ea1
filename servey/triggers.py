"""What calls an action: triggers are facts, and each transport asks the catalog for its own kind."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
