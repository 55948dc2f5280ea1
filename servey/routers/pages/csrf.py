"""Protection against cross-site request forgery (CSRF): a page uses its token cookie only for requests of its own origin.

Browsers also send the cookie with requests from other sites.
Source: OWASP, Cross-Site Request Forgery Prevention Cheat Sheet.
"""

from __future__ import annotations

from starlette.types import Scope

from servey.core.settings import Settings
from servey.http.origins import is_own_origin
from servey.http.web import bearer_token
from servey.routers.pages.cookies import cookie_of

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def page_token(scope: Scope, settings: Settings) -> str | None:
    """Return the token of a page request: from the header, else from the cookie unless `is_csrf`."""
    token = bearer_token(scope, settings)
    return token if token is not None or is_csrf(scope, settings) else cookie_of(scope)


def is_csrf(scope: Scope, settings: Settings) -> bool:
    """Whether this is a cross-site request: an unsafe method with the cookie and without the app's own origin."""
    if scope["method"] in SAFE_METHODS or bearer_token(scope, settings) is not None:
        return False
    return cookie_of(scope) is not None and not is_own_origin(scope)
