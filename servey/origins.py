"""Which page a browser's request comes from, by its ``Origin``."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from starlette.types import Scope


def origin_is_known(scope: Scope, allowed: tuple[str, ...]) -> bool:
    """Whether a page of this origin may connect: the app's own host, or one that CORS lets in; no page always may.

    Source: RFC 6455 section 10.2.
    """
    origins = _values(scope, b"origin")
    if not origins:
        return True
    if len(origins) == 1 and ("*" in allowed or origins[0].lower() in {each.lower() for each in allowed}):
        return True
    return is_own_origin(scope)


def is_own_origin(scope: Scope) -> bool:
    """Whether a request says that it comes from a page of the app's own host."""
    origins = _values(scope, b"origin")
    return len(origins) == 1 and is_of_host(origins[0], scope)


def is_of_host(url: str, scope: Scope) -> bool:
    """Whether an absolute URL begins with the host that a request was sent to."""
    scheme, separator, rest = url.lower().partition("://")
    if not separator or scheme not in ("http", "https"):
        return False
    port = ":443" if scheme == "https" else ":80"
    host = re.split(r"[/?#]", rest)[0].removesuffix(port)
    return [host] == [each.lower().removesuffix(port) for each in _values(scope, b"host")]


def _values(scope: Scope, wanted: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name == wanted]


def leads_to_known(where: str, scope: Scope, allowed: tuple[str, ...] = ()) -> bool:
    """Whether a ``Location`` leads to this app's own host, or to one of these origins.

    Source: WHATWG URL, whose parser takes backslashes for slashes and leaves out control characters.
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
