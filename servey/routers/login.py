"""``/login``: OAuth2 password grant, for development and for operators.

Source: RFC 6749 section 4.3. An app with its own users replaces the part `PasswordAuthenticator`, or uses an external
issuer.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Form
from fastapi.routing import APIRoute
from fastapi.security import OAuth2PasswordBearer
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import request_response

from servey.auth.tokens import JwtAuthorizer
from servey.auth.tries import Throttle
from servey.core.access import Authorization, PasswordAuthenticator
from servey.core.errors import (
    ActionError,
    ActionTimeout,
    Forbidden,
    InvalidParams,
    Unauthenticated,
    UnsupportedMediaType,
)
from servey.core.process import Process
from servey.core.settings import Settings
from servey.http.bodies import check_charset, whole_body
from servey.http.guarded import add_guarded
from servey.http.origins import leads_to_known, origin_is_known
from servey.http.web import operation_id_of, replay
from servey.layout.frame import LOGIN, frame_of
from servey.layout.page import accepts_html, shipped_page
from servey.routers.pages.cookies import forget_token, set_token
from servey.routers.pages.failures import login_form
from servey.routers.rest.describe import ErrorBody

logger: logging.Logger = logging.getLogger("servey")

TOKEN_SECONDS = 3600
LOGIN_BYTES = 1 << 16
LOGIN_SECONDS = 15


class Token(BaseModel):
    """The response to a login."""

    access_token: str
    token_type: str = "bearer"
    expires_in: int = TOKEN_SECONDS


@dataclass(frozen=True)
class OnePassword:
    """The user of the settings, with the scope ``root``. Shape: a password is generated if the settings have none."""

    username: str
    password: str = field(repr=False)
    is_generated: bool = False

    async def authenticate(self, username: str, password: str) -> Authorization | None:
        """Return the user's authorization, or None (in constant time) for a wrong name or password."""
        right_name = hmac.compare_digest(username.encode("utf-8", "surrogatepass"), self.username.encode())
        right_password = hmac.compare_digest(password.encode("utf-8", "surrogatepass"), self.password.encode())
        return Authorization(self.username, frozenset({"root"})) if right_name and right_password else None


def password_authenticator_of(settings: Settings) -> OnePassword:
    """Return the authenticator of the settings; without a password in them, it has a random one."""
    password = settings.login_password
    return OnePassword(settings.login_username, password or secrets.token_urlsafe(12), is_generated=password is None)


def announce_generated(authenticator: PasswordAuthenticator) -> None:
    """Log the password of an authenticator if it was generated."""
    if isinstance(authenticator, OnePassword) and authenticator.is_generated:
        logger.warning("log in as '%s' with the password '%s'", authenticator.username, authenticator.password)


def login_scheme(prefix: str) -> Any:
    """Return the security scheme that documents this login."""
    return OAuth2PasswordBearer(
        tokenUrl=f"{prefix.lstrip('/')}/login".lstrip("/"), scheme_name="OAuth2", auto_error=False
    )


def _bounded(limit_bytes: int, timeout: float) -> type[APIRoute]:
    """Return a route class that reads the request body within these limits before FastAPI parses it."""

    class LoginRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            parse_and_call = super().get_route_handler()

            async def handle(request: Request) -> Response:
                try:
                    check_charset(request.headers.get("content-type"))
                except UnsupportedMediaType as error:
                    # FastAPI answers 422 to whatever is not a form with both fields.
                    problem = {"type": "form_invalid", "loc": ["body"], "msg": error.detail, "input": None}
                    raise InvalidParams([problem]) from None
                length = request.headers.get("content-length")
                raw = await whole_body(request.receive, length=length, limit_bytes=limit_bytes, timeout=timeout)
                return await parse_and_call(Request(request.scope, replay(raw, request.receive)))

            return handle

    return LoginRoute


def mount_login(
    router: APIRouter,
    authorizer: JwtAuthorizer,
    authenticator: PasswordAuthenticator,
    runtime: Process,
    *,
    prefix: str = "",
    throttle: Throttle,
) -> None:
    """Add ``POST /login``. Tokens are valid for an hour; browsers receive the token as the cookie of pages."""
    settings = runtime.settings

    async def token_of(request: Request, username: str, password: str) -> str:
        caller = request.client.host if request.client is not None else ""
        try:
            async with asyncio.timeout(LOGIN_SECONDS), throttle.one_try(caller, username) as succeed:
                authorization = await authenticator.authenticate(username, password)
                if authorization is not None:
                    succeed()
        except TimeoutError:
            raise ActionTimeout(LOGIN_SECONDS) from None
        if authorization is None:
            raise Unauthenticated("Wrong name or password")
        return authorizer.sign(authorization, lifetime=TOKEN_SECONDS)

    async def login(request: Request, username: Annotated[str, Form()], password: Annotated[str, Form()]) -> Any:
        """Get a token for a name and a password."""
        if not accepts_html(request.scope):
            return Token(access_token=await token_of(request, username, password))
        wanted = (await request.form()).get("next")
        target = wanted if isinstance(wanted, str) and wanted.startswith("/") else _home(request)
        if not leads_to_known(target, request.scope):
            target = _home(request)
        try:
            if not origin_is_known(request.scope, ()):
                raise Forbidden("This form was sent from another site and was refused")
            token = await token_of(request, username, password)
        except ActionError as error:
            return _login_page(runtime, request, target, error)
        answer = RedirectResponse(target, 303, headers={"Cache-Control": "no-store"})
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
        route_class_override=_bounded(min(LOGIN_BYTES, settings.max_body_bytes), settings.body_timeout),
        responses={
            401: {"model": ErrorBody, "description": "Wrong name or password"},
            413: {"model": ErrorBody, "description": "The request body is too large"},
            429: {"model": ErrorBody, "description": "Too many wrong tries"},
            503: {"model": ErrorBody, "description": "Too many logins at once"},
        },
    )


def mount_login_form(router: APIRouter, runtime: Process, *, prefix: str = "") -> None:
    """Add ``GET /login``, a page with the form, and ``POST /logout``; mounted last, so a project can have its own."""

    async def form(request: Request) -> Response:
        return _login_page(runtime, request, request.query_params.get("next", _home(request)))

    async def leave(request: Request) -> Response:
        if not origin_is_known(request.scope, ()):
            error = Forbidden("This form was sent from another site and was refused")
            return _login_page(runtime, request, _home(request), error)
        target = request.query_params.get("next", "")
        if not target.startswith("/") or not leads_to_known(target, request.scope):
            target = _home(request)
        answer = RedirectResponse(target, 303, headers={"Cache-Control": "no-store"})
        forget_token(answer, runtime.settings, request.scope)
        return answer

    runtime.shipped[LOGIN] = f"{prefix}/login"
    add_guarded(router, f"{prefix}/login", request_response(form), runtime, methods=["GET"], name="login_form")
    add_guarded(router, f"{prefix}/logout", request_response(leave), runtime, methods=["POST"], name="logout")


def _home(request: Request) -> str:
    return str(request.scope.get("root_path", "")).rstrip("/") + "/"


def _login_page(runtime: Process, request: Request, target: str, error: ActionError | None = None) -> Response:
    message = "" if error is None else str(error.detail)
    hint = '<p class="quiet small">In development, <code>servey dev</code> prints the name and the password.</p>'
    return shipped_page(
        frame_of(runtime, request.scope),
        "Log in",
        f"<h1>Log in</h1>{login_form(request.url.path, target, message)}{hint if runtime.settings.is_dev else ''}",
        kind="narrow",
        current=LOGIN,
        status=200 if error is None else error.status,
        headers=None if error is None else error.headers,
    )
