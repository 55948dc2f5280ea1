"""The cookie that holds the token of pages.

Source: RFC 6265bis section 4.1.2 (SameSite, HttpOnly, Secure).
"""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Scope

from servey.core.settings import Settings

COOKIE = "servey_token"


def cookie_of(scope: Scope) -> str | None:
    """Return the token in the cookie, or None."""
    for name, value in scope["headers"]:
        if name == b"cookie":
            for part in value.decode("latin-1").split(";"):
                key, _, token = part.strip().partition("=")
                if key == COOKIE and token:
                    return str(token.strip('"'))
    return None


def set_token(response: Response, token: str, seconds: int, settings: Settings, scope: Scope) -> None:
    """Set the cookie to a token, for as long as the token is valid."""
    response.set_cookie(
        COOKIE,
        token,
        max_age=seconds,
        path=cookie_path(scope),
        httponly=True,
        samesite="lax",
        secure=not settings.is_dev,
    )


def forget_token(response: Response, settings: Settings, scope: Scope) -> None:
    """Delete the cookie."""
    response.delete_cookie(COOKIE, path=cookie_path(scope), httponly=True, samesite="lax", secure=not settings.is_dev)


def cookie_path(scope: Scope) -> str:
    """Return the path of the cookie: the app's root."""
    return str(scope.get("root_path", "")).rstrip("/") or "/"
