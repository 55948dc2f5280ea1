"""Assembles an app: finds the actions, creates the runtime, mounts the transports."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from servey.building import Problems, build_runtime, creation, settings_inside_host
from servey.compat.fastapi import is_bare
from servey.compat.fastapi_routes import is_unwrapped
from servey.compat.starlette import is_wrapped
from servey.core.actions import Action
from servey.core.channels import EventChannel
from servey.core.errors import ConfigError
from servey.core.settings import Settings
from servey.http.compression import with_gzip
from servey.http.errors import ErrorFunction, checked_errors
from servey.http.guarded import more_dependencies
from servey.http.handlers import app_exception_handlers, handle_unexpected_in_host, has_handler
from servey.http.hosts import guard_routes, host_check_of
from servey.http.lifespans import MOUNTED, refuse, require_lifespan
from servey.http.observe import OBSERVED, needs_generic, observe_request
from servey.http.root_path import below
from servey.http.web import request_id_of, with_one_request_id, with_request_id
from servey.jobs.schedule import schedules_of
from servey.jobs.service import jobs_and_schedules_here
from servey.layout.frame import stylesheet
from servey.mounting import joined_lifespan, login_of, mount_all_pages, mount_documents, mount_shared, prepare_serving
from servey.routers.health import mount_health
from servey.routers.rest.candidates import narrow
from servey.routers.rest.describe import valid_in_3_1
from servey.routers.rest.dispatch import Dispatch, Tables, add_match
from servey.routers.rest.fallback import Serve
from servey.routers.statics import Nothing, fallback_app
from servey.runtime.job_owners import job_owner_of
from servey.runtime.parts import Parts, has_key
from servey.runtime.runtime import Runtime

if TYPE_CHECKING:
    from servey.exposure import Exposure


class Servey(FastAPI):
    """A FastAPI app that serves actions. Run it, `install` it into another app, or mount it there.

    It accepts the arguments of `create_app`.
    Errors: ConfigError that lists every problem of the project.
    """

    openapi_schema: dict[str, Any] | None
    user_middleware: list[Middleware]

    def __init__(
        self,
        *,
        actions: Iterable[Callable[..., Any] | Action] | None = None,
        channels: Iterable[EventChannel] | None = None,
        settings: Settings | None = None,
        parts: Parts | None = None,
        errors: ErrorFunction | None = None,
        **fastapi_kwargs: Any,
    ) -> None:
        actions = None if actions is None else list(actions)
        channels = None if channels is None else list(channels)
        self._errors = checked_errors(errors)
        self._settings_inside_host = settings_inside_host() if settings is None else None
        self._own_problem: ConfigError | None = None
        try:
            with creation():
                self._build(settings or Settings(), actions, channels, parts, dict(fastapi_kwargs))
        except ConfigError as error:
            if self._settings_inside_host is None:
                raise
            # A variable of a host may be invalid for us; it only matters if no host installs or mounts this app.
            try:
                self._build(self._settings_inside_host, actions, channels, parts, dict(fastapi_kwargs))
            except ConfigError:
                raise error from None
            self._own_problem = error

    def _build(
        self,
        settings: Settings,
        actions: list[Any] | None,
        channels: list[EventChannel] | None,
        parts: Parts | None,
        fastapi_kwargs: dict[str, Any],
    ) -> None:
        stylesheet("frame", "page")
        problems = Problems()
        self.runtime: Runtime = build_runtime(settings, actions, channels, parts, problems)
        self.runtime.errors = self._errors
        self._login = login_of(self.runtime)
        self._host_check = host_check_of(settings)
        self._host: FastAPI | None = None
        self._hosts_lifespan: Any = None
        self._only_users_lifespan = False
        self._tables: Tables | None = None
        self._stack: ASGIApp | None = None
        self._generic = self._serve_with_stack
        handlers = {**app_exception_handlers(self.runtime), **(fastapi_kwargs.pop("exception_handlers", None) or {})}
        self._users_lifespan = fastapi_kwargs.pop("lifespan", None)
        self._state: Mapping[str, Any] = {}
        fastapi_kwargs.setdefault("title", settings.api_title)
        docs_url = fastapi_kwargs.pop("docs_url", "/docs")
        redoc_url = fastapi_kwargs.pop("redoc_url", "/redoc")
        if not settings.serves_docs:
            fastapi_kwargs["openapi_url"] = None
        super().__init__(
            **{**fastapi_kwargs, "docs_url": None, "redoc_url": None, "exception_handlers": handlers},
            lifespan=cast(Any, self._lifespan),
        )
        self._routes = narrow(self.router)
        self.runtime.app = self
        self.runtime.services.append(jobs_and_schedules_here)
        with problems.collected():
            schedules_of(self.runtime)  # reports invalid schedules at startup
        self._fields, self._offers = mount_shared(self.router, self.runtime, "", self._login, problems)
        mount_health(self, self.runtime)
        mount_documents(self, self.runtime, self.exposures, self._fields, docs_url=docs_url, redoc_url=redoc_url)
        mount_all_pages(self.router, self.runtime, "", self._login, problems)
        problems.check()
        self.router.default = fallback_app(self.runtime)

    def install(
        self,
        api: FastAPI,
        prefix: str = "",
        *,
        errors: ErrorFunction | None = None,
        job_owner: Callable[..., Any] | None = None,
    ) -> None:
        """Add the actions' routes to an existing app below ``prefix``, with its OpenAPI document and its lifespan.

        They use its middleware, exception handlers and dependencies. ``errors`` replaces that of the constructor.
        ``job_owner`` is a dependency that returns the id of the user of a request, who then owns the jobs that it enqueues.
        """
        if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
            raise ConfigError(f"prefix is {prefix!r}; begin it with '/' and do not end it with one")
        self._use_settings_inside_host()
        if errors is not None:
            self.runtime.errors = checked_errors(errors)
        if job_owner is not None:
            self.runtime.job_owner = job_owner_of(job_owner, self.runtime)
        hosts_own = set(map(id, api.router.routes))
        problems = Problems()
        self.runtime.shipped.clear()
        with creation(), more_dependencies(api.router, self.router.dependencies):
            self._fields, self._offers = mount_shared(api.router, self.runtime, prefix, self._login, problems)
            mount_all_pages(api.router, self.runtime, prefix, self._login, problems)
        problems.check()
        added = [route for route in api.router.routes if id(route) not in hosts_own]
        require_lifespan(added, self.runtime)
        if self._host_check is not None:
            guard_routes(added, self._host_check)
        self._host, self.runtime.app, self.runtime.prefix = api, api, prefix
        INSTALLED[api] = self
        if not {500, Exception} & set(api.exception_handlers):
            api.add_exception_handler(Exception, handle_unexpected_in_host)
        hosts_lifespan = self._hosts_lifespan = api.router.lifespan_context

        @asynccontextmanager
        async def combined_lifespan(app: Any) -> AsyncIterator[Mapping[str, Any] | None]:
            self.runtime.check_settings()
            async with self._serving(app, hosts_lifespan, self._users_lifespan) as state:
                yield state

        api.router.lifespan_context = cast(Any, combined_lifespan)

    def _use_settings_inside_host(self) -> None:
        """Drop the variables that may be the host's own: inside a host, only those with the prefix SERVEY_ count."""
        self._own_problem = None
        if self._settings_inside_host is not None:
            self.runtime.reconfigure(self._settings_inside_host)
            self._login = login_of(self.runtime)
            self._host_check = host_check_of(self._settings_inside_host)
            self._settings_inside_host = None
        self.runtime.ignores_unknown_tokens = not has_key(self.runtime.parts, self.runtime.settings)

    def build_middleware_stack(self) -> ASGIApp:
        """Build the middleware stack; its innermost layer looks up requests in a table of the actions' routes."""
        tables = Tables(self.router)
        user_middleware = self.user_middleware
        self.user_middleware = [*user_middleware, Middleware(Dispatch, tables=tables)]
        try:
            stack = super().build_middleware_stack()
        finally:
            self.user_middleware = user_middleware
        has_cors = bool(self.runtime.settings.cors_allowed_origins)
        if has_cors:
            # Outermost, so that pages of other origins can read every error, including a 500.
            stack = CORSMiddleware(
                stack,
                allow_origins=self.runtime.settings.cors_allowed_origins,
                allow_methods=["*"],
                allow_headers=["*"],
                expose_headers=["X-Request-ID"],
            )
        if is_bare(self) and not is_wrapped(self):
            # FastAPI has nothing to do per request; without middleware the table can serve requests directly.
            self._stack = stack
            self._tables = None if user_middleware or has_cors else tables
        else:
            self._stack = self._tables = None
        return stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        root_path = self.runtime.settings.root_path
        if root_path and scope["type"] != "lifespan" and "app" not in scope and OBSERVED not in scope:
            scope = below(root_path, scope)
        check = self._host_check
        if check is not None and scope["type"] != "lifespan" and not check.allows(scope):
            await check.refuse(scope, receive, send)
            return
        if scope["type"] == "http":
            observer = self.runtime.observer
            if observer is not None and OBSERVED not in scope:
                await observe_request(observer, self, scope, receive, send)
                return
            if "app" in scope:
                if not self.runtime.is_running:
                    await refuse(MOUNTED, self.runtime, scope, receive, send)
                    return
                if self._state:
                    state = scope.setdefault("state", {})
                    for name, value in self._state.items():
                        state.setdefault(name, value)
            else:
                send = with_gzip(scope, send)
                found = self._find_direct(scope)
                if found is not None:
                    # The log already has a request id.
                    request_id = request_id_of(scope) if OBSERVED in scope else None
                    await found[0](scope, receive, send, found[1], self._generic, request_id)
                    return
            send = with_one_request_id(send, scope)
            if self._stack is not None and self._is_unchanged() and not self.root_path:
                scope["app"] = self
                await self._stack(scope, receive, send)
                return
        elif scope["type"] == "websocket" and "app" not in scope:
            serve_socket = self._socket_of(scope)
            if serve_socket is not None:
                # No middleware applies, and an idle connection would keep the whole stack in memory.
                await serve_socket(scope, receive, send)
                return
        await super().__call__(scope, receive, send)

    def _is_unchanged(self) -> bool:
        """Whether nothing was put around the app since its middleware stack was built."""
        return self.middleware_stack is self._stack and is_unwrapped()

    def _skips_stack(self, scope: Scope) -> bool:
        if self.root_path or scope.get("root_path") or self.middleware_stack is not self._stack:
            return False
        observer = self.runtime.observer
        return (observer is None or not needs_generic(observer, scope)) and is_unwrapped()

    def _socket_of(self, scope: Scope) -> ASGIApp | None:
        """Return what serves a websocket directly, or None if middleware applies."""
        if self._tables is None or not self._skips_stack(scope):
            return None
        for route in self._routes.of(scope["path"]):
            match, found = route.matches(scope)
            if match is Match.FULL:
                serve: ASGIApp | None = getattr(route, "serve_socket", None)
                if serve is not None:
                    scope.update(found, app=self)
                return serve
        return None

    def _find_direct(self, scope: Scope) -> tuple[Serve, Sequence[str]] | None:
        """Return what serves a request directly, or None if middleware applies."""
        if self._tables is None or not self._skips_stack(scope):
            return None
        table = self._tables.current()
        path = scope["path"]
        found = table.find(scope["method"], path)
        if found is not None:
            route, values = found
            serve: Serve | None = route.direct()
            if serve is None:
                return None
            scope["app"] = self
            add_match(scope, self.router, route, values)
            return serve, values
        if (
            type(self.router.default) is Nothing
            and table.methods(path) == []
            and not has_handler(HTTPException(404), self)
        ):
            return self._serve_not_found, ()
        return None

    async def _serve_not_found(
        self, scope: Scope, receive: Receive, send: Send, path: Sequence[str], generic: ASGIApp, request_id: str | None
    ) -> None:
        await self.router.default(scope, receive, with_request_id(send, request_id_of(scope)))

    async def _serve_with_stack(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request that the table handed back, by the whole stack."""
        await super().__call__(scope, receive, with_request_id(send, request_id_of(scope)))

    def exposures(self) -> list[Exposure]:
        """Return where each action is exposed and who may call it."""
        from servey.exposure import exposure_of

        return [exposure_of(self.runtime, action, self._fields, self._offers) for action in self.runtime.catalog]

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI 3.1 document, created on first use."""
        if self.openapi_schema is None:
            self.openapi_schema = valid_in_3_1(super().openapi())
        return self.openapi_schema

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the app inside the lifespan of the host that it is mounted in."""
        self._use_settings_inside_host()
        if self._only_users_lifespan:
            async with self.users_lifespan():
                yield
            return
        async with self.router.lifespan_context(self) as state:
            self._state = state or {}
            yield

    def is_mounted_in(self, app: Any) -> bool:
        """Whether another app mounts this one, instead of installing it."""
        return app is not self and app is not self._host

    @contextmanager
    def only_users_lifespan(self) -> Iterator[None]:
        """Make `running` leave out the server's part."""
        self._only_users_lifespan = True
        try:
            yield
        finally:
            self._only_users_lifespan = False

    def check_variables(self) -> None:
        """Check the environment variables that an app without a host reads. Errors: ConfigError."""
        if self._own_problem is not None:
            raise self._own_problem

    def check_settings(self) -> None:
        """Check that the app may run. Errors: ConfigError."""
        self.check_variables()
        self.runtime.check_settings()

    @asynccontextmanager
    async def users_lifespan(self) -> AsyncIterator[None]:
        """Run only the lifespans of the user and of the host, for a process that makes calls without a server."""
        async with joined_lifespan(self._host or self, self._hosts_lifespan, self._users_lifespan):
            yield

    @asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncIterator[Mapping[str, Any] | None]:
        self.check_settings()
        async with self._serving(app, self._users_lifespan) as state:
            yield state

    @asynccontextmanager
    async def _serving(self, app: FastAPI, *lifespans: Any) -> AsyncIterator[Mapping[str, Any]]:
        await prepare_serving(self.runtime, self._login)
        # The user's lifespan starts before the first call and ends after the last one.
        async with joined_lifespan(app, *lifespans) as state, self.runtime.lifespan():
            yield state


INSTALLED: WeakKeyDictionary[FastAPI, Servey] = WeakKeyDictionary()
"""The Servey app that is installed in each host."""


def create_app(
    *,
    actions: Iterable[Callable[..., Any] | Action] | None = None,
    channels: Iterable[EventChannel] | None = None,
    settings: Settings | None = None,
    parts: Parts | None = None,
    errors: ErrorFunction | None = None,
    **fastapi_kwargs: Any,
) -> Servey:
    """Create an app from the given actions and channels, or from those that the settings name.

    ``parts`` replaces components of the app, ``errors`` decides how clients see errors; ``fastapi_kwargs`` are passed to
    FastAPI.
    Errors: ConfigError that lists every problem of the project.
    """
    return Servey(actions=actions, channels=channels, settings=settings, parts=parts, errors=errors, **fastapi_kwargs)
