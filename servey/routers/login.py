"""``/login``: a password for a token, as OAuth2's password grant; for development and for the one who operates an app.

Source: RFC 6749 section 4.3. Whoever has users of their own plugs in a `PasswordAuthenticator`, or lets somebody else
give out the tokens.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Form
from fastapi.security import OAuth2PasswordBearer
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from servey.access import Authorization, PasswordAuthenticator
from servey.errors import ActionError, Forbidden, Unauthenticated
from servey.origins import leads_to_known, origin_is_known
from servey.routers.cookies import set_token
from servey.routers.describe import ErrorBody
from servey.routers.failures import login_form
from servey.routers.shipped import accepts_html, shipped_page
from servey.settings import Settings
from servey.tokens import JwtAuthorizer
from servey.web import operation_id_of

logger = logging.getLogger("servey")

TOKEN_SECONDS = 3600
TRIES = 5
TRIES_SECONDS = 60


class Token(BaseModel):
    """What a login gives."""

    access_token: str
    token_type: str = "bearer"
    expires_in: int = TOKEN_SECONDS


@dataclass(frozen=True)
class OnePassword:
    """The one user of the settings, who holds the scope ``root``."""

    username: str
    password: str = field(repr=False)

    async def authenticate(self, username: str, password: str) -> Authorization | None:
        """The user's authorization; None for a wrong name or password, after the same time."""
        right_name = hmac.compare_digest(username.encode(), self.username.encode())
        right_password = hmac.compare_digest(password.encode(), self.password.encode())
        return Authorization(self.username, frozenset({"root"})) if right_name and right_password else None


def password_authenticator_of(settings: Settings) -> OnePassword:
    """The authenticator of the settings. In development a password is made up where none is set, and logged."""
    password = settings.login_password
    if password is None:
        password = secrets.token_urlsafe(12)
        logger.warning("log in as '%s' with the password '%s'", settings.login_username, password)
    return OnePassword(settings.login_username, password)


def login_scheme(prefix: str) -> Any:
    """How documents show that a token is to be had here."""
    return OAuth2PasswordBearer(
        tokenUrl=f"{prefix.lstrip('/')}/login".lstrip("/"), scheme_name="OAuth2", auto_error=False
    )


class Throttle:
    """Counts wrong tries of everybody, and refuses all of them for the rest of a minute when there were too many."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: list[float] = []

    def check(self) -> None:
        """Errors: ActionError 429 with ``Retry-After``."""
        now = self._clock()
        self._wrong = [moment for moment in self._wrong if now - moment < TRIES_SECONDS]
        if len(self._wrong) >= TRIES:
            wait = int(TRIES_SECONDS - (now - self._wrong[0])) + 1
            raise ActionError(429, "http_429", "Too many wrong tries", headers={"Retry-After": str(wait)})

    def wrong(self) -> None:
        """Notes a wrong try."""
        self._wrong.append(self._clock())


def mount_login(
    router: APIRouter,
    authorizer: JwtAuthorizer,
    authenticator: PasswordAuthenticator,
    settings: Settings,
    *,
    prefix: str = "",
    throttle: Throttle | None = None,
) -> None:
    """Adds ``POST /login``, whose tokens hold for an hour; a browser gets its token as the cookie of pages."""
    tries = throttle or Throttle()

    async def token_of(username: str, password: str) -> str:
        tries.check()
        authorization = await authenticator.authenticate(username, password)
        if authorization is None:
            tries.wrong()
            raise Unauthenticated("Wrong name or password")
        return authorizer.sign(authorization, lifetime=TOKEN_SECONDS)

    async def login(request: Request, username: Annotated[str, Form()], password: Annotated[str, Form()]) -> Any:
        """Get a token for a name and a password."""
        if not accepts_html(request.scope):
            return Token(access_token=await token_of(username, password))
        wanted = (await request.form()).get("next")
        onward = wanted if isinstance(wanted, str) and wanted.startswith("/") else "/"
        if not leads_to_known(onward, request.scope):
            onward = "/"
        try:
            if not origin_is_known(request.scope, ()):
                raise Forbidden("This was sent from a page of another site, so that it was not done")
            token = await token_of(username, password)
        except ActionError as error:
            return _login_page(request, onward, error)
        answer = RedirectResponse(onward, 303, headers={"Cache-Control": "no-store"})
        set_token(answer, token, TOKEN_SECONDS, settings, request.scope)
        return answer

    router.add_api_route(
        f"{prefix}/login",
        login,
        methods=["POST"],
        name="login",
        operation_id=operation_id_of("login", prefix),
        tags=["login"],
        response_model=Token,
        responses={
            401: {"model": ErrorBody, "description": "Wrong name or password"},
            429: {"model": ErrorBody, "description": "Too many wrong tries"},
        },
    )


def mount_login_form(router: APIRouter, *, prefix: str = "") -> None:
    """Adds ``GET /login``, a page with the form; it is mounted last, so that a project may have one of its own."""

    async def form(request: Request) -> Response:
        return _login_page(request, request.query_params.get("next", "/"))

    router.add_route(f"{prefix}/login", form, name="login_form", include_in_schema=False)


def _login_page(request: Request, onward: str, error: ActionError | None = None) -> Response:
    message = "" if error is None else str(error.detail)
    body = f"<main><h1>Log in</h1>{login_form(request.url.path, onward, message)}</main>"
    return shipped_page(
        "Log in", body, 200 if error is None else error.status, None if error is None else error.headers
    )
