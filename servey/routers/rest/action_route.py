"""The route of one web trigger of an action.

The steps of a request: authorize, decode, validate, perform, serialize, send.
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import inspect
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from functools import cached_property
from types import FunctionType
from typing import Any

from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from servey.calls.enqueue import why_no_job
from servey.calls.injection import injected_part, injection_of_route
from servey.calls.invoke import authorize, perform, validate
from servey.calls.outcomes import Stream
from servey.calls.slices import is_long, json_in_slices
from servey.compat.fastapi import ModelField
from servey.compat.fastapi_routes import (
    REQUEST_PARAMETER,
    app_of,
    handler_of,
    including_context,
    is_included,
    is_unwrapped,
    take_parameters,
    without_parameters,
)
from servey.compat.starlette import remember_body
from servey.core.actions import Action
from servey.core.actions.paging import Page
from servey.core.context import Context, Transport
from servey.core.errors import ActionError, InvalidParams
from servey.core.triggers import BODY_METHODS, WebTrigger
from servey.http.bodies import parsed_or_text
from servey.http.disconnects import cancelled_on_disconnect
from servey.http.encode import Encode, encoder_of
from servey.http.errors import error_response, log_unexpected, shown_error, shown_response
from servey.http.handlers import PARSED_BODY, error_for_handlers, keep_failure
from servey.http.observe import OBSERVED, needs_generic, observe_request
from servey.http.tokens import caller_token
from servey.http.web import Answer, exception_of, header, request_id_of
from servey.observability.telemetry import Observer
from servey.routers.rest import describe
from servey.routers.rest.compiled import compile_route
from servey.routers.rest.decode import RequestDecoder
from servey.routers.rest.deferred import accepted, prefers_later
from servey.routers.rest.dispatch import allowed_methods
from servey.routers.rest.fallback import FALLBACK, Fallback, RouteSpec, Serve
from servey.routers.rest.query import Places, places_of
from servey.routers.rest.rendered import next_link, rendered, with_cache_headers
from servey.routers.rest.streams import StreamResponse, stream_media_type
from servey.runtime.runtime import Runtime


@dataclasses.dataclass(frozen=True)
class Served:
    """The trigger and action of a route.

    Shape: ``scheme`` is the documented security scheme, ``prefix`` the common prefix of the app's paths.
    """

    runtime: Runtime
    action: Action
    trigger: WebTrigger
    scheme: Any
    prefix: str

    @property
    def status(self) -> int:
        """The status code of a successful response."""
        return self.trigger.status_code or self.action.status_code or 200

    @property
    def takes_body(self) -> bool:
        """Whether its parameters come from a body."""
        return self.trigger.method in BODY_METHODS


RESPOND = "servey.respond"
"""The scope key of the function that an endpoint calls."""


def endpoint_of(served: Served) -> Callable[..., Any]:
    """Return the endpoint of a route: FastAPI reads its signature, and its handler calls it with the request."""
    action = served.action
    injection = served.runtime.plan(action).injection
    signature = inspect.signature(injection.function if injection is not None else injected_part(action))

    async def endpoint(**given: Any) -> Any:
        request = given[REQUEST_PARAMETER]
        return await request.scope[RESPOND](request)

    for name in ("__name__", "__qualname__", "__module__"):
        setattr(endpoint, name, getattr(action.fn, name, getattr(endpoint, name)))
    endpoint.__doc__ = action.description
    endpoint.__signature__ = signature  # type: ignore[attr-defined]
    return endpoint


class ActionRoute(RequestDecoder, APIRoute):
    """The route of one trigger. FastAPI's router and OpenAPI treat it like any other route; an action serves it."""

    body_field: Any = describe.OnDemand(describe.body_of_route)
    openapi_extra: Any = describe.OnDemand(describe.extra_of_route)
    response_field: Any = describe.OnDemand(describe.response_of_route)
    response_fields: dict[int | str, ModelField]
    transport: Transport = "rest"

    def __init__(self, served: Served, path: str, endpoint: Callable[..., Any], **kwargs: Any) -> None:
        answers: dict[int | str, dict[str, Any]] = kwargs.pop("responses", None) or {}
        shared = {code: each["model"] for code, each in answers.items() if each.get("model") in describe.ERROR_MODELS}
        own = {code: each for code, each in answers.items() if code not in shared}
        model = kwargs.pop("response_model", None)
        self.served = served
        injection = served.runtime.plan(served.action).injection
        if injection is None or injection.in_body or "{" in path:
            super().__init__(path, endpoint, **kwargs, responses=own, response_model=None)
        else:
            # Without parameters in the path and a body, FastAPI reads the same again as for the plan.
            with without_parameters(endpoint):
                super().__init__(path, endpoint, **kwargs, responses=own, response_model=None)
            take_parameters(self.dependant, injection.dependant)
        self.responses: dict[int | str, dict[str, Any]] = answers
        self.response_model: Any = model
        self.response_fields |= {code: describe.error_field(model) for code, model in shared.items()}
        self._methods = self.methods or set()
        self._own_app = self.app
        self._has_own_endpoint = (
            self.endpoint is endpoint and type(endpoint) is FunctionType and not hasattr(endpoint, "__wrapped__")
        )
        action = served.action
        self._runtime, self._trigger = served.runtime, served.trigger
        self.places: Places = places_of(action, self.param_convertors, takes_body=self.takes_body)
        self._strict = served.runtime.settings.strict_schema
        limit = action.max_body_bytes
        self._limit = served.runtime.settings.max_body_bytes if limit is None else limit
        self._inject(self.dependant)

    def _inject(self, dependant: Any) -> None:
        """Compute what depends on what FastAPI injects into the call."""
        plan = self.served.runtime.plan(self.served.action)
        injection = injection_of_route(dependant, self.served.scheme, self.served.action, plan.injection)
        self._plan = dataclasses.replace(plan, injection=injection)
        hides_later = "respond-async" in self.served.action.hidden
        self._may_be_later = not hides_later and why_no_job(plan, has_request=True) is None
        injected_body = injection.in_body if injection is not None else ()
        cursor = self.served.action.cursor
        self._links_pages = cursor is not None and cursor.alias in self.places.query
        self._has_body = bool(self.places.body or injected_body)
        self._known_in_body = self.places.path | self.places.body | {param.alias for param in injected_body}
        self._known_in_query = self.places.path | self.places.query
        self._known_in_query |= set(self._flat_fields if self.places.flat is not None else ())
        if injection is not None:
            self._known_in_query |= injection.in_address
        self._takes_form = injection is not None and injection.takes_form

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http" and scope["method"] == "HEAD" and "GET" in (self.methods or ()):
            return super().matches({**scope, "method": "GET"})
        return super().matches(scope)

    @cached_property
    def spec(self) -> RouteSpec:
        """The properties of the route that its compiled form is generated from."""
        return RouteSpec(
            runtime=self.served.runtime,
            plan=self._plan,
            method=self.served.trigger.method.value,
            places=self.places,
            query_shapes=self._query_shapes,
            body_shapes=self._body_shapes,
            path_names=tuple(self.param_convertors),
            reads_body=self._has_body or (self._strict and self.served.takes_body),
            known_in_query=frozenset(self._known_in_query),
            known_in_body=frozenset(self._known_in_body),
            strict=self._strict,
            limit_bytes=self._limit,
            status=self.served.status,
            located=self._located,
            provider=self.dependency_overrides_provider,
            may_be_later=self._may_be_later,
        )

    @cached_property
    def serve(self) -> Serve | None:
        """The compiled form, created on first use, or None if the route is not compiled."""
        return compile_route(self.spec)

    @cached_property
    def _encode_item(self) -> Encode | None:
        """What encodes the items of a stream without pydantic."""
        item = self.served.action.result
        return None if item is None else encoder_of(item)

    @property
    def observer(self) -> Observer | None:
        """What logs, counts and traces the requests of this route."""
        return self.served.runtime.observer

    def direct(self) -> Serve | None:
        """Return the compiled form, or None if there is none or a tool has wrapped the route.

        The caller asks `is_unwrapped`.
        """
        if "handle" in self.__dict__ or type(self).handle is not _HANDLE:
            return None
        return self.serve if self.app is self._own_app and self._has_own_endpoint else None

    def _compiled(self) -> Serve | None:
        return self.serve if self.app is self._own_app and self._has_own_endpoint and is_unwrapped() else None

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        context = including_context(self)
        route = self
        if context is not None:
            # A router that includes the route can add dependencies to it.
            route = copy.copy(self)
            route.dependency_overrides_provider = context.dependency_overrides_provider
            prefix = context.path_format.removesuffix(self.path_format)
            route.served = dataclasses.replace(self.served, prefix=prefix + self.served.prefix)
            route._inject(context.dependant)
        handler = handler_of(self.endpoint, self.path_format)

        async def handle(request: Request) -> Response:
            request.scope[RESPOND] = route._respond_once
            # FastAPI's handler is only needed for tools that wrap its functions or the endpoint.
            is_observed = not (route._has_own_endpoint and is_unwrapped())
            try:
                return await (handler(request) if is_observed else route._respond_once(request))
            except (Exception, asyncio.CancelledError) as raised:
                return await route._failed_response(exception_of(raised), request)

        return handle

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        observer = self.served.runtime.observer
        if observer is not None and OBSERVED not in scope:
            scope["route"] = self
            await observe_request(observer, self.handle, scope, receive, send)
            return
        method = scope["method"]
        is_followed = needs_generic(observer, scope)
        if (
            FALLBACK not in scope
            and not is_followed
            and (method == self.served.trigger.method or (method == "HEAD" and "GET" in self._methods))
            and not is_included(scope)
        ):
            serve = self._compiled()
            if serve is not None:
                values = [scope["path_params"][name] for name in self.param_convertors]
                await serve(scope, receive, send, values, self.handle, request_id_of(scope))
                return
        answer = Answer(scope, send, request_id_of(scope))
        if method == "HEAD" and "GET" in self._methods:
            await app_of(self, scope)(scope, receive, answer.send)
        elif method in self._methods:
            await super().handle(scope, receive, answer.send)
        else:
            headers = {"Allow": ", ".join(allowed_methods(scope))}
            for_handler = error_for_handlers(HTTPException(405, headers=headers), scope)
            if for_handler is not None:
                raise for_handler
            error = ActionError(405, "method_not_allowed", "Method Not Allowed", headers=headers)
            await error_response(error, self.served.runtime, scope)(scope, receive, answer.send)

    async def _respond_once(self, request: Request) -> Response:
        """Run the call and return its response; everything it opened is closed after the response is sent."""
        scope = request.scope
        fallback: Fallback | None = scope.pop(FALLBACK, None)
        if fallback is not None and fallback.error is not None:
            if fallback.raw is not None:
                remember_body(request, fallback.raw)
                if PARSED_BODY not in scope:  # the compiled form has parsed a form only
                    scope[PARSED_BODY] = parsed_or_text(fallback.raw)
            raise fallback.error
        after_response: AsyncExitStack = scope["fastapi_inner_astack"]
        async with AsyncExitStack() as stack:
            release = stack.enter_context(self._runtime.in_flight.count_call())
            response = await self._respond(request, fallback.context if fallback is not None else None, stack, release)
            after_response.push_async_exit(stack.pop_all())
        return response

    async def _failed_response(self, error: Exception, request: Request) -> Response:
        """Return the response for a failed call. Errors: those that the app's exception handlers or middleware handle."""
        observer = self.served.runtime.observer
        if observer is not None:
            observer.failed(error)
        for_handler = self._for_handlers(error, request.scope)
        if for_handler is not None:
            raise for_handler from (error if for_handler is not error else error.__cause__)
        request_id = request_id_of(request.scope)
        known, is_unexpected = shown_error(error, self.served.runtime, request_id, self.transport)
        if is_unexpected:
            log_unexpected(error, request_id, self.served.action.name)
            keep_failure(request.scope, error, await self._failed(error, known, request))
            raise error
        return await self._failed(error, known, request)

    def _for_handlers(self, error: Exception, scope: Scope) -> Exception | None:
        """Return the exception to raise for a handler of the app, or None if there is none."""
        return error_for_handlers(error, scope)

    async def _failed(self, error: Exception, known: ActionError, request: Request) -> Response:
        """Return the response for an error; ``known`` is the public part of it."""
        return shown_response(known, self.served.runtime, request.scope)

    async def _respond(
        self, request: Request, admitted: Context | None, stack: AsyncExitStack, release: Callable[[], None]
    ) -> Response:
        """Run the call in a context on the stack; ``admitted`` is a context that is already authorized."""
        runtime, scope = self.served.runtime, request.scope
        app = self.dependency_overrides_provider
        if admitted is None:
            token = caller_token(scope, runtime)
            opened = runtime.context("rest", token=token, request_id=request_id_of(scope), request=request, app=app)
        else:
            opened = runtime.reopen_context(admitted, request=request, app=app)
        context: Context = await stack.enter_async_context(opened)
        if admitted is None:
            await authorize(self._plan, context)
        observer = runtime.observer
        if observer is not None:
            observer.enter(self.served.action, context, "decode")
        given = await self._decode(request, context)
        try:
            values = await validate(self._plan, given, context)
            if self._may_be_later and prefers_later(scope):
                path = scope.get("root_path", "") + self.served.prefix
                plan, around = runtime.plan(self.served.action), self._plan.injection
                if observer is not None:
                    observer.enter(self.served.action, context, "enqueue")
                later = await accepted(plan, given, values, context, scope, path, around)
                if later is not None:
                    return later
        except InvalidParams as error:
            raise self._located(error) from None
        call = perform(self._plan, values, context)
        if self.served.action.cancel_on_disconnect:
            call = cancelled_on_disconnect(call, request.receive)
        result = await call
        if isinstance(result, Stream):
            if scope["method"] == "HEAD":
                await result.aclose()
            release()  # open streams are idle, so they do not count as requests in flight
            media_type = stream_media_type(header(scope, b"accept"))
            return StreamResponse(result, media_type, self._headers(context), runtime, context, self._encode_item)
        if observer is not None:
            observer.enter(self.served.action, context, "serialize")
        return with_cache_headers(
            self._plan, await self._rendered(result, request, context), result, scope, runtime, context.made_at
        )

    async def _rendered(self, result: Any, request: Request, context: Context) -> Response:
        serializer = self.served.action.result
        content: bytes | None = b""
        if isinstance(result, Response):
            content = None
        elif is_long(self.served.action, result):
            content = await json_in_slices(self.served.action, result, is_valid=True)
        elif serializer is not None:
            content = serializer.serializer.to_json(result, by_alias=True, warnings=False)
        response = rendered(result, content, context.resources.response, self.served.status)
        if isinstance(result, Page) and result.next is not None and self._links_pages:
            cursor = self.served.action.cursor
            assert cursor is not None
            link = next_link(request.url.query, cursor.names, str(result.next))
            response.raw_headers.append((b"link", link.encode("latin-1")))
        return response

    def _headers(self, context: Context) -> list[tuple[bytes, bytes]]:
        """Return the headers that the action or its dependencies set on an injected ``Response``."""
        injected: Response | None = context.resources.response
        return list(injected.raw_headers) if injected is not None else []


_HANDLE = ActionRoute.handle
