"""Every error that Servey raises.

::

    ServeyError
    ├── ConfigError           building went wrong; lists every problem; never raised during a call
    ├── EventError            an event that is not of its channel's type; its publisher's mistake, not a client's
    └── ActionError           one call failed: .status .code .detail .headers
        ├── InvalidParams     422 (its detail is a list)
        ├── Unauthenticated   401
        ├── Forbidden         403
        ├── NotFound          404
        ├── Conflict          409
        ├── TooLarge          413
        ├── UnsupportedMediaType 415
        ├── Overloaded        503
        ├── Restarting        503  a subscription's end, and the next one's beginning
        ├── TooSlow           408  a subscription's end
        └── ActionTimeout     504
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


class ServeyError(Exception):
    """The root of every error that Servey raises."""


class ConfigError(ServeyError):
    """An app that can not be built as it is written, with every problem found, one a line."""

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class EventError(ServeyError):
    """An event that is not of its channel's type."""


class ActionError(ServeyError):
    """One failed call, with what its caller may know: an HTTP status, a code for programs and a text for people.

    Raise it, or one of its subclasses, from an action; every transport shows the same three facts.
    """

    def __init__(self, status: int, code: str, detail: Any, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers: Mapping[str, str] = headers or {}

    def body(self) -> dict[str, Any]:
        """The JSON object that stands for this error on the wire."""
        return {"detail": self.detail, "code": self.code}


class InvalidParams(ActionError):
    """Parameters that do not fit the action's signature.

    Shape: ``detail`` is a list of ``{"type", "loc", "msg", "input"}`` objects, as FastAPI gives them.
    """

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__(422, "invalid_params", errors)

    def body(self) -> dict[str, Any]:
        return {"detail": self.detail}

    def __str__(self) -> str:
        return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'input'}: {e['msg']}" for e in self.detail)


class Unauthenticated(ActionError):
    """No token, or one that is not valid, where a valid one is needed."""

    def __init__(self, detail: str = "Not authenticated") -> None:
        super().__init__(401, "unauthenticated", detail, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(ActionError):
    """A known caller who may not do this."""

    def __init__(self, detail: str = "Forbidden") -> None:
        super().__init__(403, "forbidden", detail)


class NotFound(ActionError):
    """Something that was asked for and does not exist."""

    def __init__(self, detail: str = "Not Found") -> None:
        super().__init__(404, "not_found", detail)


class Conflict(ActionError):
    """A call that the present state does not allow."""

    def __init__(self, detail: str = "Conflict") -> None:
        super().__init__(409, "conflict", detail)


class TooLarge(ActionError):
    """A request body over its limit."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(413, "too_large", f"The request body is over the limit of {limit_bytes} bytes")


class UnsupportedMediaType(ActionError):
    """A request body in a media type that the action does not take."""

    def __init__(self, given: str, taken: str) -> None:
        shown = f"'{given[:100]}'" if given else "none"
        super().__init__(415, "unsupported_media_type", f"The Content-Type is {shown}; send {taken}")


class Overloaded(ActionError):
    """A call refused because this process has as much to do as it may."""

    def __init__(self, detail: str = "Too many requests in flight; try again shortly", *, retry_after: int = 1) -> None:
        super().__init__(503, "overloaded", detail, headers={"Retry-After": str(retry_after)})


class Restarting(ActionError):
    """A subscription that ends because this process does; its client comes back."""

    def __init__(self) -> None:
        super().__init__(503, "restarting", "The server restarts; come back", headers={"Retry-After": "1"})


class TooSlow(ActionError):
    """A subscription whose client does not read as fast as events are published."""

    def __init__(self) -> None:
        super().__init__(408, "too_slow", "Too many events wait for this subscriber; come back and read faster")


class ActionTimeout(ActionError):
    """A call that took longer than its action's timeout."""

    def __init__(self, seconds: float) -> None:
        super().__init__(504, "timeout", f"The action did not finish within {seconds:g} s")


def internal_error() -> ActionError:
    """What a caller is told of an unexpected exception: nothing of its text."""
    return ActionError(500, "internal", "Internal Server Error")
