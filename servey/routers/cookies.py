"""The cookie that a page takes its token from.

It is sent by the browser whoever made the page that it comes from, so that what changes something is only done for a page
of the app's own.
Source: RFC 6265bis section 4.1.2 (SameSite, HttpOnly, Secure); OWASP, Cross-Site Request Forgery Prevention.
"""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Scope

from servey.origins import is_own_origin
from servey.settings import Settings
from servey.web import bearer_token

COOKIE = "servey_token"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def cookie_of(scope: Scope) -> str | None:
    """The token in a request's cookie; None where there is none."""
    for name, value in scope["headers"]:
        if name == b"cookie":
            for part in value.decode("latin-1").split(";"):
                key, _, token = part.strip().partition("=")
                if key == COOKIE and token:
                    return str(token.strip('"'))
    return None


def page_token(scope: Scope) -> str | None:
    """The token that a page's visitor shows: that of the header, else that of a cookie that may be used."""
    token = bearer_token(scope)
    return token if token is not None or is_forged(scope) else cookie_of(scope)


def is_forged(scope: Scope) -> bool:
    """Whether a request that changes something shows a cookie and does not come from a page of the app's own."""
    unsafe = scope["method"] not in SAFE_METHODS
    return unsafe and bearer_token(scope) is None and cookie_of(scope) is not None and not is_own_origin(scope)


def set_token(response: Response, token: str, seconds: int, settings: Settings, scope: Scope) -> None:
    """Puts a token into the browser's cookie, for as long as it holds."""
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
    """Takes the token away from the browser."""
    response.delete_cookie(COOKIE, path=cookie_path(scope), httponly=True, samesite="lax", secure=not settings.is_dev)


def cookie_path(scope: Scope) -> str:
    """Where the cookie is sent to: everything below the app's root."""
    return str(scope.get("root_path", "")).rstrip("/") or "/"
