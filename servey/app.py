"""Puts an app together: finds the actions, makes the runtime, mounts the transports."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from servey.access import PasswordAuthenticator
from servey.actions import Action
from servey.catalog import build_catalog, find_actions, find_channels
from servey.channels import BackgroundActionChannel, EventChannel, WebsocketEventChannel
from servey.compat.fastapi import is_bare
from servey.compat.starlette import is_wrapped
from servey.compression import with_gzip
from servey.errors import ActionError, ConfigError
from servey.graphql.fields import Fields
from servey.graphql.mount import mount_graphql
from servey.jobs.routes import mount_jobs
from servey.jobs.schedule import schedules_of, trigger_text, triggers_of
from servey.jobs.service import jobs_and_schedules_here
from servey.keeping import not_kept_because
from servey.parts import Parts, load_plugins, parts_of
from servey.routers.describe import access_text, default_scheme, valid_in_3_1
from servey.routers.dispatch import Dispatch, Tables
from servey.routers.docs import mount_docs
from servey.routers.forms import Serve
from servey.routers.health import mount_health
from servey.routers.index import mount_index
from servey.routers.login import login_scheme, mount_login, mount_login_form
from servey.routers.pages import mount_pages, page_path
from servey.routers.rest import mount_actions, path_of
from servey.routers.statics import StaticSite, nothing_at
from servey.runtime import Runtime
from servey.settings import Settings
from servey.telemetry import NOTED, Observer
from servey.tokens import JwtAuthorizer
from servey.triggers import WebPageTrigger, WebTrigger
from servey.web import app_exception_handlers, error_response, request_id_of, with_request_id


class Servey(FastAPI):
    """A FastAPI app whose routes are made of actions. Serve it, `install` it into another app, or mount it there.

    It takes what `create_app` takes, which is another way to say it.
    Errors: ConfigError that lists every problem of the project.
    """

    def __init__(
        self,
        *,
        actions: Iterable[Callable[..., Any] | Action] | None = None,
        channels: Iterable[EventChannel] | None = None,
        settings: Settings | None = None,
        parts: Parts | None = None,
        **fastapi_kwargs: Any,
    ) -> None:
        settings = settings or Settings()
        self.runtime = build_runtime(settings, actions, channels, parts)
        self._login = _login_of(self.runtime)
        self._tables: Tables | None = None
        self._stack: ASGIApp | None = None
        self._generic = self._whole
        handlers = {**app_exception_handlers(), **(fastapi_kwargs.pop("exception_handlers", None) or {})}
        users_lifespan = fastapi_kwargs.pop("lifespan", None)
        fastapi_kwargs.setdefault("title", settings.api_title)
        if not settings.serves_docs:
            fastapi_kwargs["openapi_url"] = None
        super().__init__(
            **{**fastapi_kwargs, "docs_url": None, "redoc_url": None, "exception_handlers": handlers},
            lifespan=self._running(users_lifespan),
        )
        self.runtime.app = self
        self.runtime.services.append(jobs_and_schedules_here)
        schedules_of(self.runtime)  # a schedule that can not be is told at once
        self._mount(self.router, "")
        mount_health(self, self.runtime)
        if settings.serves_docs:
            mount_docs(self)
        if settings.is_dev:
            mount_index(self, self.runtime, self.exposures)
        self._mount_pages(self.router, "")
        self.router.default = _last_resort(settings)

    def install(self, api: FastAPI, prefix: str = "") -> None:
        """Adds the actions' routes to an app that is there already, below ``prefix``: to its own OpenAPI, behind its own
        middleware, exception handlers and dependencies, and within its lifespan.
        """
        if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
            raise ConfigError(f"prefix is {prefix!r}; begin it with '/' and do not end it with one")
        self._mount(api.router, prefix)
        self._mount_pages(api.router, prefix)
        self.runtime.app = api
        hosts_lifespan = api.router.lifespan_context

        @asynccontextmanager
        async def both(app: Any) -> AsyncIterator[Mapping[str, Any] | None]:
            self.runtime.check_settings()
            async with hosts_lifespan(app) as state, self.runtime.lifespan():
                yield state

        api.router.lifespan_context = cast(Any, both)

    def _mount(self, router: APIRouter, prefix: str) -> None:
        """Adds what an app and a host have in common."""
        scheme = default_scheme() if self._login is None else login_scheme(prefix)
        mount_actions(router, self.runtime, prefix=prefix, scheme=scheme)
        self._fields = mount_graphql(router, self.runtime, prefix=prefix)
        if self.runtime.catalog.channels_of(WebsocketEventChannel):
            from servey.ws.routes import mount_channels  # an app without channels does not pay for their library

            mount_channels(router, self.runtime, prefix=prefix)
        if self.runtime.settings.serves_docs:
            from servey.ws.studio import mount_studio

            mount_studio(router, self.runtime, prefix=prefix)
        mount_jobs(router, self.runtime, prefix=prefix)
        if self._login is not None:
            authorizer, authenticator = self._login
            mount_login(router, authorizer, authenticator, self.runtime.settings, prefix=prefix)

    def _mount_pages(self, router: APIRouter, prefix: str) -> None:
        """Adds the pages, last: a path of theirs may fit everything."""
        login = None if self._login is None else f"{prefix}/login"
        mount_pages(router, self.runtime, prefix=prefix, login=login)
        if login is not None:
            mount_login_form(router, prefix=prefix)

    def build_middleware_stack(self) -> ASGIApp:
        """The app with everything around it; the innermost part looks requests up in a table of the actions' routes."""
        tables = Tables(self.router.routes)
        users_own = self.user_middleware
        self.user_middleware = [*users_own, Middleware(Dispatch, tables=tables)]
        try:
            stack = super().build_middleware_stack()
        finally:
            self.user_middleware = users_own
        crosses_origins = bool(self.runtime.settings.cors_allowed_origins)
        if crosses_origins:
            # Around everything, so that a page of another origin can read every error, also an unexpected one.
            stack = CORSMiddleware(
                stack,
                allow_origins=self.runtime.settings.cors_allowed_origins,
                allow_methods=["*"],
                allow_headers=["*"],
                expose_headers=["X-Request-ID"],
            )
        if is_bare(self) and not is_wrapped(self):
            # What FastAPI looks for on each request is not there; without middleware there is nothing around the table.
            self._stack = stack
            self._tables = None if users_own or crosses_origins else tables
        return stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            observer = self.runtime.observer
            if observer is not None and NOTED not in scope:
                await observer.request(self, scope, receive, send)
                return
            if "app" in scope:
                if not self.runtime.is_running:
                    # A host runs its own lifespan only; without ours nothing checks the settings or ends streams.
                    problem = (
                        "The mounted Servey app is not running; "
                        "in the host's lifespan say: async with servey_app.running()"
                    )
                    await error_response(ActionError(500, "internal", problem))(scope, receive, send)
                    return
            else:
                send = with_gzip(scope, send)
                found = self._found(scope, observer)
                if found is not None:
                    await found[0](scope, receive, send, found[1], self._generic, None)
                    return
            send = with_request_id(send, request_id_of(scope))
            if self._stack is not None and not self.root_path:
                scope["app"] = self
                await self._stack(scope, receive, send)
                return
        elif scope["type"] == "websocket" and "app" not in scope:
            serve_socket = self._socket_of(scope)
            if serve_socket is not None:
                # Nothing around the routes would do something, and a connection that rests holds all that is around it.
                await serve_socket(scope, receive, send)
                return
        await super().__call__(scope, receive, send)

    def _socket_of(self, scope: Scope) -> ASGIApp | None:
        """What serves a websocket by its route alone; None where something around the routes would do something."""
        if self._tables is None or self.root_path or scope.get("root_path") or _is_traced(self.runtime.observer):
            return None
        for route in self.router.routes:
            match, found = route.matches(scope)
            if match is Match.FULL:
                serve: ASGIApp | None = getattr(route, "serve_socket", None)
                if serve is not None:
                    scope.update(found, app=self)
                return serve
        return None

    def _found(self, scope: Scope, observer: Observer | None) -> tuple[Serve, Sequence[str]] | None:
        """What answers a request by the table alone; None where something around the routes would do something."""
        if self._tables is None or self.root_path or scope.get("root_path") or _is_traced(observer):
            return None
        table = self._tables.current()
        path = scope["path"]
        found = table.find(scope["method"], path)
        if found is not None:
            route, values = found
            serve: Serve | None = route.serve
            if serve is None:
                return None
            scope["app"] = self
            if observer is not None:
                scope["route"] = route
            return serve, values
        if self.router.default is nothing_here and table.methods(path) == []:
            return _serve_nothing, ()
        return None

    async def _whole(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a request that the table has given back by everything that there is."""
        await super().__call__(scope, receive, with_request_id(send, request_id_of(scope)))

    def exposures(self) -> list[Exposure]:
        """Where each action can be called, and who may call it."""
        return [exposure_of(self.runtime, action, self._fields) for action in self.runtime.catalog]

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI 3.1 document, made on first use."""
        if self.openapi_schema is None:
            self.openapi_schema = valid_in_3_1(super().openapi())
        return self.openapi_schema

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs the app inside a host's lifespan, where it is mounted."""
        async with self.router.lifespan_context(self):
            yield

    def _running(self, users_lifespan: Any) -> Callable[[Any], Any]:
        @asynccontextmanager
        async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any] | None]:
            self.runtime.check_settings()
            # The user's own parts are there before the first call and until after the last one.
            async with nullcontext() if users_lifespan is None else users_lifespan(app) as state:
                async with self.runtime.lifespan():
                    yield state

        return lifespan


async def _serve_nothing(
    scope: Scope, receive: Receive, send: Send, path: Sequence[str], generic: ASGIApp, request_id: str | None
) -> None:
    await nothing_here(scope, receive, with_request_id(send, request_id_of(scope)))


def _is_traced(observer: Observer | None) -> bool:
    """Whether calls have spans; FastAPI's own is around ours then."""
    return observer is not None and observer.tracer is not None


def create_app(
    *,
    actions: Iterable[Callable[..., Any] | Action] | None = None,
    channels: Iterable[EventChannel] | None = None,
    settings: Settings | None = None,
    parts: Parts | None = None,
    **fastapi_kwargs: Any,
) -> Servey:
    """An app of the actions and event channels that are found where the settings say, or of those given.

    ``parts`` swaps what the app is made of; ``fastapi_kwargs`` go to FastAPI as they are.
    Errors: ConfigError that lists every problem of the project.
    """
    return Servey(actions=actions, channels=channels, settings=settings, parts=parts, **fastapi_kwargs)


def build_runtime(
    settings: Settings,
    actions: Iterable[Callable[..., Any] | Action] | None = None,
    channels: Iterable[EventChannel] | None = None,
    parts: Parts | None = None,
) -> Runtime:
    """The runtime of the actions and event channels that are found where the settings say, or of those given.

    Errors: ConfigError that lists every problem of the project.
    """
    parts = load_plugins(parts or parts_of(settings), settings)
    # Whoever gives one of the two says all that the app is made of.
    given = actions is not None or channels is not None
    if not given:
        actions = find_actions(settings.action_modules, required=settings.names_action_modules)
        channels = find_channels(settings.channel_modules, required=settings.names_channel_modules)
    return Runtime(build_catalog(actions or (), channels or ()), settings, parts)


def _login_of(runtime: Runtime) -> tuple[JwtAuthorizer, PasswordAuthenticator] | None:
    """What a login needs; None where there is none: in production without a password, and without a secret to sign with."""
    authorizer = runtime.authorizer
    if not (runtime.settings.serves_login and isinstance(authorizer, JwtAuthorizer) and authorizer.can_sign):
        return None
    return authorizer, runtime.parts.make_password_authenticator(runtime.settings)


@dataclass(frozen=True)
class Exposure:
    """Where an action can be called, who may call it, and why it is not where it is not."""

    name: str
    places: tuple[str, ...]
    absences: tuple[str, ...]
    access: str
    cache: str
    summary: str
    defined_at: str

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return asdict(self)


def exposure_of(runtime: Runtime, action: Action, fields: Fields | None = None) -> Exposure:
    """What ``servey actions`` says of an action; ``fields`` are those of GraphQL, where it is there."""
    plan = runtime.plan(action)
    places = tuple(
        f"{trigger.method} {path_of(action, trigger)}" for trigger in action.triggers if isinstance(trigger, WebTrigger)
    )
    places += tuple(
        f"page {trigger.method} {page_path(action, trigger)}"
        for trigger in action.triggers
        if isinstance(trigger, WebPageTrigger)
    )
    places += tuple(map(trigger_text, triggers_of(action)))
    channels = runtime.catalog.channels_of(BackgroundActionChannel)
    places += tuple(f"channel {channel.name}" for channel in channels if channel.action is action)
    if fields is not None:
        places += tuple(f"GraphQL {place}" for place in fields.places.get(action, ()))
    needed = plan.injection.requests_needed if plan.injection is not None else None
    absences = [f"not on the command line, not as a job: it needs {needed}"] if needed else []
    if fields is not None:
        absences += fields.absences.get(action, [])
    unkept = not_kept_because(action, plan.injection)
    if unkept:
        absences.append(f"not kept on the server: {unkept}")
    cache = "" if action.cache_control is None else str(action.cache_control) + (", kept" if plan.keeping else "")
    return Exposure(action.name, places, tuple(absences), access_text(plan), cache, action.summary, action.place)


def _last_resort(settings: Settings) -> ASGIApp:
    folder = Path(settings.static_site_dir)
    if folder.is_dir():
        return StaticSite(folder, settings)

    return nothing_here


async def nothing_here(scope: Scope, receive: Receive, send: Send) -> None:
    """The answer where nothing is."""
    if scope["type"] == "websocket":
        await WebSocketClose()(scope, receive, send)
    else:
        await nothing_at(scope)(scope, receive, send)
