"""Where a caller's token is in a request: the part ``token_source``, and its default, the ``Authorization`` header."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import Scope

from servey.core.access import TokenSource
from servey.core.process import Process
from servey.core.settings import Settings
from servey.http.origins import is_own_origin, origin_is_allowed, origins_allowed
from servey.http.web import bearer_of, bearer_token

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class AuthorizationHeader:
    """Reads the ``Authorization`` header. Shape: ``schemes`` are those that are accepted, in any case."""

    schemes: tuple[str, ...] = ("Bearer",)
    vary: tuple[str, ...] = ("Authorization",)

    def token_of(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> str | None:
        """Return the token, or None. Two headers are an invalid token. Source: RFC 6750 section 2.1."""
        given = headers.get("authorization")
        return None if given is None else bearer_of(given, self.schemes)


def token_source_of(settings: Settings) -> TokenSource:
    """Return the default source of tokens."""
    return AuthorizationHeader(settings.token_schemes)


def is_default(source: TokenSource) -> bool:
    """Whether the only source of tokens is the ``Authorization`` header."""
    return type(source) is AuthorizationHeader


def caller_token(scope: Scope, runtime: Process) -> str | None:
    """Return the token of a request or a websocket, or None.

    Cookies count for an unsafe method or a websocket only if its ``Origin`` is the app's own or one that CORS names, because
    browsers send cookies, and the passwords of Basic authentication, with the requests of other sites too.
    """
    if is_default(runtime.token_source):
        return bearer_token(scope, runtime.settings)
    return token_in(scope["headers"], scope, runtime)


def token_in(raw: list[tuple[bytes, bytes]], scope: Scope, runtime: Process) -> str | None:
    """Return the token of these headers, which may have more than those of the request; see `caller_token`."""
    headers = _joined(raw)
    source = runtime.token_source
    if not is_default(source) and _is_forgeable(scope, runtime):
        headers.pop("cookie", None)
    cookie = headers.get("cookie")
    return source.token_of(headers, {} if cookie is None else cookie_parser(cookie))


def names_of(source: TokenSource) -> frozenset[str]:
    """Return the headers that the source reads, in lower case, except for cookies."""
    return frozenset(name.lower() for name in source.vary) - {"cookie"}


def scheme_of(source: TokenSource) -> Any:
    """Return the security scheme of FastAPI that documents the source, or None if it names none."""
    return getattr(source, "scheme", None)


def _joined(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers by name in lower case; those of the same name are joined."""
    found: dict[str, str] = {}
    for name, value in Headers(raw=raw).items():
        separator = "; " if name == "cookie" else ", "
        found[name] = f"{found[name]}{separator}{value}" if name in found else value
    return found


def _is_forgeable(scope: Scope, runtime: Process) -> bool:
    """Whether the page of another site may have sent this request with the user's cookies."""
    if not any(name.lower() == "cookie" for name in runtime.token_source.vary) or scope.get("method") in SAFE_METHODS:
        return False
    return not (is_own_origin(scope) or origin_is_allowed(scope, origins_allowed(scope, runtime)))
