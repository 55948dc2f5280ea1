"""Every error that Servey raises.

::

    ServeyError
    ├── ConfigError           the app cannot be built; lists every problem; never raised during a call
    ├── EventError            an event does not match its channel's type; the publisher's mistake, not a client's
    └── ActionError           one call failed: .status .code .detail .headers
        ├── InvalidParams     422 (its detail is a list)
        ├── Unauthenticated   401
        ├── Forbidden         403
        ├── NotFound          404
        ├── Conflict          409
        ├── TooLarge          413
        ├── UnsupportedMediaType 415
        ├── Overloaded        503
        ├── Restarting        503  ends a subscription; the client reconnects
        ├── TooSlow           408  ends a subscription
        ├── CannotAsk         501  the action asks a question, and nobody can answer
        └── ActionTimeout     504
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar


class ServeyError(Exception):
    """The base class of every error that Servey raises."""


class ConfigError(ServeyError):
    """The app cannot be built. Lists every problem found, one per line."""

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


_collected: ContextVar[list[str] | None] = ContextVar("_collected", default=None)


@contextmanager
def collected_mistakes() -> Iterator[list[str]]:
    """Collect what `mistake` reports, so that one mistake in a module does not hide the others."""
    found: list[str] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


def mistake(problems: Iterable[str]) -> None:
    """Report problems of a declaration: raise ConfigError, or continue inside of `collected_mistakes`."""
    found = _collected.get()
    if found is None:
        raise ConfigError(problems)
    found.extend(problems)


class EventError(ServeyError):
    """An event does not match its channel's type."""


class ActionError(ServeyError):
    """A call failed: an HTTP status, a code for programs and a text for people, all of them shown to the caller.

    Raise it or one of its subclasses from an action; every transport returns the same three values.
    """

    own_body: Mapping[str, Any] | None = None

    def __init__(self, status: int, code: str, detail: Any, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers: Mapping[str, str] = headers or {}

    def body(self) -> dict[str, Any]:
        """Return the JSON body of this error."""
        return {"detail": self.detail, "code": self.code}


def body_of(error: ActionError) -> dict[str, Any]:
    """Return the JSON body of an error: the one that the app gave it, or the error's own."""
    return error.body() if error.own_body is None else dict(error.own_body)


_E = TypeVar("_E", bound=ActionError)


def with_body(error: _E, body: Mapping[str, Any]) -> _E:
    """Return a copy of an error with another JSON body. The original may be raised again, by another call."""
    made = type(error).__new__(type(error), *error.args)
    vars(made).update(vars(error), own_body=body)
    return made


class InvalidParams(ActionError):
    """The parameters do not match the action's signature.

    Shape: ``detail`` is a list of ``{"type", "loc", "msg", "input"}`` objects, as in FastAPI.
    """

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__(422, "invalid_params", errors)

    def body(self) -> dict[str, Any]:
        return {"detail": self.detail}

    def __str__(self) -> str:
        return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'input'}: {e['msg']}" for e in self.detail)


class Unauthenticated(ActionError):
    """A valid token is required and there is none, or it is invalid."""

    def __init__(self, detail: str = "Not authenticated") -> None:
        super().__init__(401, "unauthenticated", detail, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(ActionError):
    """The caller is authenticated and may not do this."""

    def __init__(self, detail: str = "Forbidden") -> None:
        super().__init__(403, "forbidden", detail)


class NotFound(ActionError):
    """The requested object does not exist."""

    def __init__(self, detail: str = "Not Found") -> None:
        super().__init__(404, "not_found", detail)


class Conflict(ActionError):
    """The call conflicts with the current state."""

    def __init__(self, detail: str = "Conflict") -> None:
        super().__init__(409, "conflict", detail)


class TooLarge(ActionError):
    """The request body is over its size limit."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(413, "too_large", f"The request body is over the limit of {limit_bytes} bytes")


class UnsupportedMediaType(ActionError):
    """The action does not accept the media type of the request body."""

    def __init__(self, given: str, taken: str) -> None:
        shown = f"'{given[:100]}'" if given else "none"
        super().__init__(415, "unsupported_media_type", f"The Content-Type is {shown}; send {taken}")


class Overloaded(ActionError):
    """The process is at its limit of concurrent work."""

    def __init__(self, detail: str = "Too many requests in flight; try again shortly", *, retry_after: int = 1) -> None:
        super().__init__(503, "overloaded", detail, headers={"Retry-After": str(retry_after)})


class Restarting(ActionError):
    """A subscription ends because the process stops; the client should reconnect."""

    def __init__(self) -> None:
        super().__init__(503, "restarting", "The server is restarting; reconnect", headers={"Retry-After": "1"})


class TooSlow(ActionError):
    """A subscriber does not read as fast as events are published."""

    def __init__(self) -> None:
        super().__init__(408, "too_slow", "Too many events are waiting for this subscriber; reconnect and read faster")


class CannotAsk(ActionError):
    """The action asks a question of the person behind the call, and the client cannot show it."""

    def __init__(self) -> None:
        super().__init__(
            501,
            "cannot_ask",
            "This action asks a question; call it over MCP with a client that can show it (elicitation)",
        )


class ActionTimeout(ActionError):
    """The call took longer than its action's timeout."""

    def __init__(self, seconds: float) -> None:
        super().__init__(504, "timeout", f"The action did not finish within {seconds:g} s")


def internal_error() -> ActionError:
    """Return the error that clients see for an unexpected exception; it contains nothing of its text."""
    return ActionError(500, "internal", "Internal Server Error")


_USER_INFO = re.compile(r"(?<=://)\S*@")
_NAMED = re.compile(r"(?i)\b(password|passwd|pwd|secret|token|api_?key|access_?key|sig(?:nature)?)=[^\s&;,'\"]+")


def without_passwords(text: str) -> str:
    """Return the text with the user information of URLs, and the values of named secrets, replaced by ``***``."""
    return _NAMED.sub(r"\1=***", _USER_INFO.sub("***@", text))


# ------------------------------------------------------------------------------------------------ missing packages

_EXTRAS = {
    **dict.fromkeys(
        ("uvicorn", "watchfiles", "httptools", "uvloop", "websockets", "httpx2", "fastapi_offline"), "standard"
    ),
    **dict.fromkeys(("jinja2", "cronsim", "broadcaster", "sse_starlette", "httpcore2", "fastapi_cache"), "standard"),
    **dict.fromkeys(("strawberry", "graphql"), "graphql"),
    **dict.fromkeys(("arq", "redis"), "jobs"),
    **dict.fromkeys(("boto3", "botocore", "mangum"), "aws"),
    "granian": "granian",
    "mcp": "mcp",
}
"""The extra that installs each optional package; `jobs` also installs some of `standard`."""


def why_missing(error: ImportError) -> str | None:
    """Return the sentence that names the extra of a missing package, or None if no extra installs it."""
    extra = _EXTRAS.get((error.name or "").partition(".")[0]) if isinstance(error, ModuleNotFoundError) else None
    if extra is None:
        return None
    return f'\'{error.name}\' is missing: this needs Servey\'s extra "{extra}"; in a clone: pip install -e ".[{extra}]"'


@contextmanager
def extras_named() -> Iterator[None]:
    """Raise a ConfigError that names the extra, if the block imports a package that is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        text = why_missing(error)
        if text is None:
            raise
        raise ConfigError(text) from error
