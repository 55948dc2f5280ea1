"""Protection against cross-site request forgery (CSRF): a page uses its token cookie only for requests of its own origin.

Browsers also send the cookie with requests from other sites.
Source: OWASP, Cross-Site Request Forgery Prevention Cheat Sheet.
"""

from __future__ import annotations

from starlette.types import Scope

from servey.core.process import Process
from servey.core.settings import Settings
from servey.http.origins import is_own_origin
from servey.http.tokens import SAFE_METHODS, caller_token
from servey.http.web import bearer_token
from servey.routers.pages.cookies import cookie_of


def page_token(scope: Scope, runtime: Process) -> str | None:
    """Return the token of a page request: that of an API request, else from the cookie of pages unless `is_csrf`."""
    token = caller_token(scope, runtime)
    return token if token is not None or is_csrf(scope, runtime.settings) else cookie_of(scope)


def is_csrf(scope: Scope, settings: Settings) -> bool:
    """Whether this is a cross-site request: an unsafe method with the cookie and without the app's own origin."""
    if scope["method"] in SAFE_METHODS or bearer_token(scope, settings) is not None:
        return False
    return cookie_of(scope) is not None and not is_own_origin(scope)
