"""Adds the routes of all transports to a router, and joins lifespans.

A transport that the app does not use is not imported, so that it does not delay a cold start.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from fastapi import APIRouter, FastAPI

from servey.auth.tokens import JwtAuthorizer
from servey.auth.tries import Throttle
from servey.building import Problems
from servey.core.access import PasswordAuthenticator
from servey.core.channels import WebsocketEventChannel
from servey.core.triggers import McpTrigger, WebPageTrigger
from servey.graphql.mount import mount_graphql
from servey.graphql.schema.fields import Fields
from servey.http.errors import log_exceptions_once
from servey.http.tokens import scheme_of
from servey.jobs.routes import mount_jobs
from servey.layout.frame import stylesheet
from servey.routers.rest.candidates import narrow
from servey.routers.rest.describe import default_scheme
from servey.routers.rest.routes import mount_actions
from servey.runtime.parts import Parts
from servey.runtime.runtime import Runtime
from servey.runtime.siblings import check_processes

if TYPE_CHECKING:
    from servey.exposure import Exposure
    from servey.mcp.offers import Offers

Login: TypeAlias = tuple[JwtAuthorizer, PasswordAuthenticator, Throttle]


def mount_shared(
    router: APIRouter, runtime: Runtime, prefix: str, login: Login | None, problems: Problems
) -> tuple[Fields | None, Offers | None]:
    """Add the routes that an app and a host share; return the GraphQL fields, if GraphQL is installed, and MCP's offers."""
    fields = offers = None
    narrow(router)
    scheme = scheme_of(runtime.token_source) or (default_scheme() if login is None else _login_scheme(prefix))
    with problems.collected():
        mount_actions(router, runtime, prefix=prefix, scheme=scheme)
    with problems.collected():
        fields = mount_graphql(router, runtime, prefix=prefix)
    channels = runtime.catalog.channels_of(WebsocketEventChannel)
    is_declared = any(runtime.catalog.triggered_by(McpTrigger)) or any(each.mcp for each in channels)
    if runtime.settings.mcp == "web" or runtime.settings.mcp_tags or is_declared:
        from servey.mcp.mount import mount_mcp

        with problems.collected():
            offers = mount_mcp(router, runtime, prefix=prefix)
    if channels:
        from servey.ws.routes import mount_channels

        mount_channels(router, runtime, prefix=prefix)
    if runtime.settings.serves_docs:
        from servey.ws.studio import mount_studio

        mount_studio(router, runtime, prefix=prefix)
    mount_jobs(router, runtime, prefix=prefix)
    if login is not None:
        from servey.routers.login import mount_login

        authorizer, authenticator, throttle = login
        mount_login(router, authorizer, authenticator, runtime, prefix=prefix, throttle=throttle)
    return fields, offers


def mount_all_pages(router: APIRouter, runtime: Runtime, prefix: str, login: Login | None, problems: Problems) -> None:
    """Add the pages last, because a page's path may match everything."""
    if next(runtime.catalog.triggered_by(WebPageTrigger), None) is not None:
        from servey.routers.pages.routes import mount_pages

        with problems.collected():
            mount_pages(router, runtime, prefix=prefix, login=None if login is None else f"{prefix}/login")
    if login is not None:
        from servey.routers.login import mount_login_form

        mount_login_form(router, runtime, prefix=prefix)


def mount_documents(
    app: FastAPI,
    runtime: Runtime,
    exposures: Callable[[], list[Exposure]],
    fields: Fields | None,
    *,
    docs_url: str | None,
    redoc_url: str | None,
) -> None:
    """Add the documentation pages and the console, where the settings want them."""
    if runtime.settings.serves_docs:
        from servey.routers.docs import mount_docs

        stylesheet("frame", "viewers")
        mount_docs(app, runtime, docs_url=docs_url, redoc_url=redoc_url)
    if runtime.settings.is_dev or runtime.settings.console:
        from servey.console.mount import mount_console

        mount_console(app, runtime, exposures, fields)


def _login_scheme(prefix: str) -> Any:
    from servey.routers.login import login_scheme

    return login_scheme(prefix)


def login_of(runtime: Runtime) -> Login | None:
    """Return what the login needs, or None if there is no login: without a key that signs, or in production with neither a
    password nor a `password_authenticator`.
    """
    authorizer, settings, parts = runtime.authorizer, runtime.settings, runtime.parts
    if not (settings.serves_login or parts.password_authenticator != Parts.password_authenticator):
        return None
    if not (isinstance(authorizer, JwtAuthorizer) and authorizer.can_sign):
        return None
    throttle = Throttle(settings)
    runtime.services.append(throttle.running)
    return authorizer, parts.make_password_authenticator(settings), throttle


async def prepare_serving(runtime: Runtime, login: Login | None) -> None:
    """Do what a server needs before it starts, and a single call does not: checks, log filters, a line about the login."""
    await check_processes(runtime.settings, runtime.catalog)
    log_exceptions_once()
    if login is not None and runtime.settings.login_password is None:
        from servey.routers.login import announce_generated

        announce_generated(login[1])


@asynccontextmanager
async def joined_lifespan(app: FastAPI, *lifespans: Any) -> AsyncIterator[Mapping[str, Any]]:
    """Run several lifespans, each inside of the one before, with their states merged."""
    state: dict[str, Any] = {}
    async with AsyncExitStack() as stack:
        for lifespan in lifespans:
            if lifespan is not None:
                state |= await stack.enter_async_context(lifespan(app)) or {}
        yield state
