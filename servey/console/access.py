"""Who may use the console: everyone in development; in production callers with the scope ``servey:operate``."""

from __future__ import annotations

import logging

from starlette.requests import Request
from starlette.types import Scope

from servey.core.access import Authorization, AuthorizationError
from servey.core.errors import Forbidden, Unauthenticated
from servey.http.origins import is_own_origin, origin_is_known
from servey.http.tokens import SAFE_METHODS
from servey.http.web import bearer_token, request_id_of
from servey.routers.pages.csrf import page_token
from servey.runtime.runtime import Runtime

logger: logging.Logger = logging.getLogger("servey.audit")

SCOPE = "servey:operate"
ALLOWED = (SCOPE, "root")
"""``root`` is the scope of who logs in with the password of the settings."""


async def operator_of(runtime: Runtime, request: Request) -> Authorization | None:
    """Return the caller of the console; None for an anonymous caller in development. Errors: Unauthenticated, Forbidden."""
    scope = request.scope
    check_origin(runtime, scope)
    token = page_token(scope, runtime)
    try:
        caller = None if token is None else await runtime.authorizer.authorize(token)
    except AuthorizationError:
        caller = None
    if caller is None:
        if not runtime.settings.is_dev:
            raise Unauthenticated()
        # CORS may let any site read the answers of an app in development, and send it a token that is not valid.
        if not origin_is_known(scope, ()) or (scope["method"] not in SAFE_METHODS and not is_own_origin(scope)):
            raise Forbidden("This request was sent from another site and was refused")
        return None
    if not runtime.settings.is_dev and not caller.has_any_scope(ALLOWED):
        raise Forbidden(f"The console needs a token with the scope {SCOPE}")
    return caller


def check_origin(runtime: Runtime, scope: Scope) -> None:
    """Check that a change was sent by this app's own page, or with a token in its header. Errors: Forbidden."""
    if scope["method"] in SAFE_METHODS or bearer_token(scope, runtime.settings) is not None:
        return
    if not is_own_origin(scope):
        raise Forbidden("This change was sent from another site and was refused")


def audit(request: Request, caller: Authorization | None, change: str, job: str | None = None) -> None:
    """Log a change that an operator made."""
    subject = caller.subject_id if caller is not None else None
    fields = {"subject": subject, "job": job, "request_id": request_id_of(request.scope)}
    logger.info("console: %s%s", change, f" by {subject}" if subject else "", extra=fields)
