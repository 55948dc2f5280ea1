"""Checks the ``Origin`` header of browsers' requests."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from starlette.middleware.cors import CORSMiddleware
from starlette.types import Scope

from servey.core.process import Process
from servey.http.web import bearer_token


def origin_is_allowed(scope: Scope, allowed: tuple[str, ...]) -> bool:
    """Whether a request's ``Origin`` is one that CORS names; ``*`` names none."""
    origins = _values(scope, b"origin")
    named = {_normalized(each) for each in allowed if each != "*"}
    return len(origins) == 1 and _normalized(origins[0]) in named


def origin_is_known(scope: Scope, allowed: tuple[str, ...], *, own: bool = True) -> bool:
    """Whether a request's origin is the app's own or allowed by CORS, or the request has no ``Origin``.

    Without ``own``, the app's own origin has to be allowed like any other.
    Source: RFC 6455 section 10.2.
    """
    origins = _values(scope, b"origin")
    if not origins:
        return True
    if len(origins) == 1 and ("*" in allowed or _normalized(origins[0]) in map(_normalized, allowed)):
        return True
    return own and is_own_origin(scope)


def origins_allowed(scope: Scope, runtime: Process) -> tuple[str, ...]:
    """Return the origins that CORS allows: those of the settings, and those of the app's own ``CORSMiddleware``.

    A ``*`` is one of them. Origins that match an ``allow_origin_regex`` count if the request has one.
    """
    found = list(runtime.settings.cors_allowed_origins)
    for middleware in getattr(runtime.app, "user_middleware", ()):
        if isinstance(middleware.cls, type) and issubclass(middleware.cls, CORSMiddleware):
            found += middleware.kwargs.get("allow_origins", ())
            pattern = middleware.kwargs.get("allow_origin_regex")
            found += [each for each in _values(scope, b"origin") if pattern and re.fullmatch(pattern, each)]
    return tuple(found)


def omit_credentials(scope: Scope, runtime: Process) -> None:
    """Remove what a browser adds by itself, cookies and passwords, from a websocket whose ``Origin`` only ``*`` allows.

    Browsers omit it from such requests over HTTP, but know no CORS for websockets: the page of another site would act as its
    visitor. Source: WHATWG Fetch, "CORS protocol and credentials".
    """
    if not _values(scope, b"origin") or is_own_origin(scope):
        return
    if not origin_is_allowed(scope, origins_allowed(scope, runtime)):
        is_token = bearer_token(scope, runtime.settings) is not None
        own = (b"cookie",) if is_token else (b"cookie", b"authorization")
        scope["headers"] = [pair for pair in scope["headers"] if pair[0] not in own]


def _normalized(origin: str) -> str:
    """Return an origin in lower case, without a trailing slash and the default port of its scheme."""
    origin = origin.lower().rstrip("/")
    return origin.removesuffix(":443" if origin.startswith("https:") else ":80")


def is_own_origin(scope: Scope) -> bool:
    """Whether a request's ``Origin`` is the app's own host."""
    origins = _values(scope, b"origin")
    return len(origins) == 1 and is_of_host(origins[0], scope)


def is_of_host(url: str, scope: Scope) -> bool:
    """Whether the host of an absolute URL is the request's own ``Host``."""
    scheme, separator, rest = url.lower().partition("://")
    if not separator or scheme not in ("http", "https"):
        return False
    port = ":443" if scheme == "https" else ":80"
    host = re.split(r"[/?#]", rest)[0].removesuffix(port)
    return [host] == [each.lower().removesuffix(port) for each in _values(scope, b"host")]


def _values(scope: Scope, wanted: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name == wanted]


def leads_to_known(where: str, scope: Scope, allowed: tuple[str, ...] = ()) -> bool:
    """Whether a ``Location`` points to the app's own host or to one of these origins.

    Source: WHATWG URL, whose parser treats backslashes as slashes and drops control characters.
    """
    if where.startswith("//") or "\\" in where or re.search(r"[\x00-\x20\x7f]", where):
        return False
    try:
        parts = urlsplit(where)
    except ValueError:
        return False
    if not parts.scheme and not parts.netloc:
        return True
    origin = f"{parts.scheme}://{parts.netloc}".lower()
    return origin in {each.lower().rstrip("/") for each in allowed} or (
        bool(parts.netloc) and "@" not in parts.netloc and is_of_host(where, scope)
    )
