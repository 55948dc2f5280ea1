"""REST: each web trigger of an action becomes one route of a FastAPI router, in that app's own OpenAPI.

The route takes the steps of a call one by one: admit, decode, validate, perform, serialize, send.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import re
from collections.abc import Callable
from functools import cached_property
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from servey.actions import Action, kebab_case
from servey.bodies import parse_json, whole_body
from servey.conditional import with_cache_control
from servey.context import Context
from servey.dependencies import injected_part, injection_of_route
from servey.errors import ActionError, ConfigError, InvalidParams, UnsupportedMediaType
from servey.invoke import Stream, admit, perform, validate
from servey.routers import describe
from servey.routers.compiled import compile_route
from servey.routers.decode import FORMS, check_json_type, check_path
from servey.routers.deferred import accepted, may_be_later, prefers_later
from servey.routers.forms import AGAIN, Again, Facts, Serve
from servey.routers.query import check_shapes, nest, parse_query, places_of, refuse_unknown, shapes_of
from servey.routers.streams import send_stream, stream_media_type
from servey.runtime import Runtime
from servey.telemetry import NOTED
from servey.triggers import BODY_METHODS, WebTrigger
from servey.web import (
    JSON,
    Answer,
    bearer_token,
    error_response,
    exception_of,
    for_host,
    header,
    known_error,
    replay,
    request_id_of,
)

logger = logging.getLogger("servey")


def path_of(action: Action, trigger: WebTrigger) -> str:
    """The path of a trigger: its own, or one made of the action's name."""
    if trigger.path is not None:
        return trigger.path
    if action.class_name is not None and not action.given_name:
        return f"/actions/{kebab_case(action.class_name)}/{kebab_case(action.fn.__name__)}"
    return f"/actions/{kebab_case(action.name)}"


def mount_actions(router: APIRouter, runtime: Runtime, *, prefix: str = "", scheme: Any = None) -> None:
    """Adds a route for every web trigger of every action.

    Errors: ConfigError that lists each route that can not be: two of one path and method, a path parameter that the
    action does not have, a type that a query string can not hold.
    """
    problems: list[str] = []
    taken_ids = {str(getattr(each, "operation_id", None)) for each in iter_route_contexts(router.routes)}
    taken_paths: dict[tuple[str, str], Action] = {}
    for action, trigger in runtime.catalog.triggered_by(WebTrigger):
        path = path_of(action, trigger)
        key = (trigger.method.value, re.sub(r"\{[^}]*\}", "{}", path))
        other = taken_paths.setdefault(key, action)
        try:
            if not path.startswith("/"):
                raise action.problem(f"path is {path!r}; begin it with '/'")
            if other is not action:
                raise ConfigError(
                    f"{trigger.method} {path} is a route of action '{other.name}' ({other.place}) "
                    f"and of action '{action.name}' ({action.place}); give one of them another path"
                )
            _add_route(router, Served(runtime, action, trigger, scheme, prefix), prefix + path, taken_ids)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)


@dataclasses.dataclass(frozen=True)
class Served:
    """What a route serves: one trigger of one action; ``scheme`` is the security scheme that documents show, ``prefix`` what
    stands before all of an app's paths.
    """

    runtime: Runtime
    action: Action
    trigger: WebTrigger
    scheme: Any
    prefix: str

    @property
    def takes_body(self) -> bool:
        """Whether its parameters come in a body."""
        return self.trigger.method in BODY_METHODS


def _add_route(router: APIRouter, served: Served, path: str, taken_ids: set[str]) -> None:
    action = served.action
    plan = served.runtime.plan(action)
    part = injected_part(action)
    part.servey = served  # type: ignore[attr-defined]
    injection = plan.injection
    path_keys = re.findall(r"\{([a-zA-Z_]\w*)(?::\w+)?\}", path)
    places = places_of(action, path_keys, takes_body=served.takes_body)
    injected_names = injection.in_address if injection is not None else frozenset[str]()
    unknown = [key for key in path_keys if key not in places.path | injected_names]
    if unknown:
        raise action.problem(f"path {path!r} has '{unknown[0]}', which is no parameter of the function")
    in_body = injection.in_body if injection is not None else ()
    if not served.takes_body and in_body:
        raise action.problem("comes from the body; use a method with one, e.g. WEB_POST", in_body[0].name)
    check_shapes(action, places.query, "a query string")
    if injection is not None and injection.takes_form:
        check_shapes(action, places.body, "a form")
    describe.check_result(action)
    whole = action.signature.streams or action.result is None
    router.add_api_route(
        path,
        part,
        methods=[served.trigger.method.value],
        name=action.name,
        summary=action.summary,
        description=action.description,
        tags=list(action.tags) or None,
        operation_id=describe.operation_id(action, served.trigger, taken_ids),
        dependencies=describe.security_of(plan, served.scheme),
        # Said by us, whatever the host's default: a class without a media type leaves a stream's types to `responses`.
        response_class=Response if whole else JSONResponse,
        response_model=None if whole else describe.result_model(action),
        responses=describe.responses_of(plan, served.trigger, has_body=bool(places.body or in_body)),
        route_class_override=ActionRoute,
    )


class ActionRoute(APIRoute):
    """The route of one trigger: to FastAPI's router and its OpenAPI a route like any other, served by an action."""

    body_field: Any = describe.OnDemand(describe.body_of_route)
    openapi_extra: Any = describe.OnDemand(describe.extra_of_route)

    def __init__(self, path: str, endpoint: Callable[..., Any], **kwargs: Any) -> None:
        answers: dict[int | str, dict[str, Any]] = kwargs.pop("responses", None) or {}
        shared = {code: each["model"] for code, each in answers.items() if each.get("model") in describe.ERROR_MODELS}
        own = {code: each for code, each in answers.items() if code not in shared}
        super().__init__(path, endpoint, **kwargs, responses=own)
        self.responses = answers
        self.response_fields |= {code: describe.error_field(model) for code, model in shared.items()}
        self._methods = self.methods or set()
        self.served: Served = endpoint.servey  # type: ignore[attr-defined]
        action = self.served.action
        self._plan = dataclasses.replace(
            self.served.runtime.plan(action), injection=injection_of_route(self.dependant, self.served.scheme)
        )
        self._may_be_later = may_be_later(self.served.runtime.plan(action), self._plan)
        self.places = places_of(action, self.param_convertors, takes_body=self.served.takes_body)
        shapes = shapes_of(action)
        self._query_shapes = {name: shapes[name] for name in self.places.query}
        self._body_shapes = {name: shapes[name] for name in self.places.body}
        injection = self._plan.injection
        injected_body = injection.in_body if injection is not None else ()
        self._has_body = bool(self.places.body or injected_body)
        self._known_in_body = self.places.path | self.places.body | {param.alias for param in injected_body}
        self._known_in_query = self.places.path | self.places.query
        if injection is not None:
            self._known_in_query |= injection.in_address
        self._takes_form = injection is not None and injection.takes_form
        self._strict = self.served.runtime.settings.strict_schema
        limit = action.max_body_bytes
        self._limit = self.served.runtime.settings.max_body_bytes if limit is None else limit

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http" and scope["method"] == "HEAD" and "GET" in self._methods:
            return super().matches({**scope, "method": "GET"})
        return super().matches(scope)

    @cached_property
    def serve(self) -> Serve | None:
        """Its compiled form, made on the first hit; None where it has none."""
        return compile_route(
            Facts(
                runtime=self.served.runtime,
                plan=self._plan,
                places=self.places,
                query_shapes=self._query_shapes,
                path_names=tuple(self.param_convertors),
                reads_body=self._has_body or (self._strict and self.served.takes_body),
                known_in_query=frozenset(self._known_in_query),
                known_in_body=frozenset(self._known_in_body),
                strict=self._strict,
                limit_bytes=self._limit,
                located=self._located,
            )
        )

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        observer = self.served.runtime.observer
        if observer is not None and NOTED not in scope:
            scope["route"] = self
            await observer.request(self.handle, scope, receive, send)
            return
        method = scope["method"]
        again: Again | None = scope.pop(AGAIN, None)
        is_traced = observer is not None and observer.tracer is not None
        if again is None and not is_traced and method == self.served.trigger.method and self.serve is not None:
            values = [scope["path_params"][name] for name in self.param_convertors]
            await self.serve(scope, receive, send, values, self.handle, request_id_of(scope))
            return
        context = again.context if again is not None else None
        answer = Answer(scope, send, request_id_of(scope))
        try:
            if again is not None and again.error is not None:
                raise again.error
            if method not in self._methods and not (method == "HEAD" and "GET" in self._methods):
                allowed = {"Allow": ", ".join(_allowed(scope))}
                raise ActionError(405, "method_not_allowed", "Method Not Allowed", headers=allowed)
            with self.served.runtime.in_flight.one_more() as let_go:
                await self._serve(scope, receive, answer, let_go, context)
        except (Exception, asyncio.CancelledError) as raised:
            error = exception_of(raised)
            if answer.started:
                logger.error("action '%s' failed after its answer", self.served.action.name, exc_info=error)
                return
            hosts = for_host(error, scope.get("app"))
            if hosts is not None:
                raise hosts from error
            known = known_error(error, request_id_of(scope), self.served.action.name)
            response = await self._failed(error, known, Request(scope))
            await response(scope, receive, answer.send)

    async def _failed(self, error: Exception, known: ActionError, request: Request) -> Response:
        """The answer that stands for an error, of which ``known`` is what the caller may know."""
        return error_response(known)

    async def _serve(
        self,
        scope: Scope,
        receive: Receive,
        answer: Answer,
        let_go: Callable[[], None],
        admitted: Context | None,
    ) -> None:
        runtime = self.served.runtime
        context: Context
        request = Request(scope, receive)
        app = self.dependency_overrides_provider
        if admitted is None:
            token = bearer_token(scope)
            opened = runtime.context("rest", token=token, request_id=request_id_of(scope), request=request, app=app)
        else:
            opened = runtime.taken_over(admitted, request=request, app=app)
        async with opened as context:
            if admitted is None:
                await admit(self._plan, context)
            given = await self._decode(request, context)
            try:
                values = await validate(self._plan, given, context)
            except InvalidParams as error:
                raise self._located(error) from None
            if self._may_be_later and prefers_later(scope):
                path = scope.get("root_path", "") + self.served.prefix
                later = await accepted(runtime.plan(self.served.action), values, context, path)
                await later(scope, receive, answer.send)
                return
            result = await perform(self._plan, values, context)
            if isinstance(result, Stream):
                if scope["method"] == "HEAD":
                    await result.aclose()
                let_go()  # open streams are many and idle; they are not what the limit is about
                media_type = stream_media_type(header(scope, b"accept"))
                headers = self._headers(context)
                await send_stream(result, media_type, headers, receive, answer.send, runtime, context.request_id)
                return
            response = with_cache_control(
                self._rendered(result, context),
                self.served.action.cache_control,
                result,
                scope,
                made_at=context.made_at,
            )
            await response(scope, receive, answer.send)

    async def _decode(self, request: Request, context: Context) -> dict[str, Any]:
        """The client's input by wire name: path over query over body."""
        given: dict[str, Any] = {}
        scope = request.scope
        if self._has_body or (self._strict and self.served.takes_body):
            given = await self._decode_body(request, context)
        if scope["query_string"] and (self.places.query or self._strict):
            asked = nest(parse_query(scope["query_string"]), self._query_shapes)
            if self._strict:
                refuse_unknown(asked, self._known_in_query, "query")
            given |= {name: value for name, value in asked.items() if name in self.places.query}
        if self.param_convertors:
            check_path(scope)
            given |= {name: scope["path_params"][name] for name in self.places.path}
        return given

    async def _decode_body(self, request: Request, context: Context) -> dict[str, Any]:
        raw = await whole_body(
            request.receive,
            length=request.headers.get("content-length"),
            limit_bytes=self._limit,
            timeout=self.served.runtime.settings.body_timeout,
        )
        resources = context.resources
        resources.request = request = Request(request.scope, replay(raw, request.receive))
        if self._takes_form:
            return await self._decode_form(request, raw, context)
        if not raw:
            return {}
        check_json_type(request.headers.get("content-type"))
        given = parse_json(raw)
        if not isinstance(given, dict):
            problem = {"type": "dict_type", "loc": ["body"], "msg": "Input should be a JSON object", "input": None}
            raise InvalidParams([problem])
        resources.body = given
        if self._strict:
            refuse_unknown(given, self._known_in_body, "body")
        return {name: value for name, value in given.items() if name in self.places.body}

    async def _decode_form(self, request: Request, raw: bytes, context: Context) -> dict[str, Any]:
        media_type = (request.headers.get("content-type") or "").partition(";")[0].strip().lower()
        if media_type not in FORMS:
            raise UnsupportedMediaType(media_type, " or ".join(FORMS))
        if not media_type.startswith("multipart/"):
            parse_query(raw, "body")  # its text is checked as that of a query is
        try:
            form: FormData = await request.form()
        except HTTPException as error:
            problem = {"type": "form_invalid", "loc": ["body"], "msg": str(error.detail), "input": None}
            raise InvalidParams([problem]) from None
        context.resources.on_close(form.close)
        context.resources.body = form
        given = nest(form.multi_items(), self._body_shapes)
        if self._strict:
            refuse_unknown(given, self._known_in_body, "body")
        return {name: value for name, value in given.items() if name in self.places.body}

    def _located(self, error: InvalidParams) -> InvalidParams:
        """The same errors, each with the part of the request that it is in."""
        located = []
        for item in error.detail:
            name = item["loc"][0] if item["loc"] else None
            where = "body" if self.served.takes_body and name not in self.places.query else "query"
            if name in self.places.path:
                where = "path"
            located.append({**item, "loc": [where, *item["loc"]]})
        return InvalidParams(located)

    def _rendered(self, result: Any, context: Context) -> Response:
        headers = self._headers(context)
        if isinstance(result, Response):
            result.raw_headers.extend(headers)
            return result
        injected = context.resources.response
        status = injected.status_code if injected is not None and injected.status_code else 200
        serializer = self.served.action.result
        content = (
            serializer.serializer.to_json(result, by_alias=True, warnings=False) if serializer is not None else b""
        )
        response = Response(content if status not in (204, 304) and status >= 200 else b"", status, media_type=JSON)
        response.raw_headers.extend(headers)
        return response

    def _headers(self, context: Context) -> list[tuple[bytes, bytes]]:
        """The headers that the action or its dependencies have set on an injected ``Response``."""
        injected: Response | None = context.resources.response
        return list(injected.raw_headers) if injected is not None else []


def _allowed(scope: Scope) -> list[str]:
    """Every method that some route answers on this path, for ``Allow``."""
    methods: set[str] = set()
    for route in scope["router"].routes:
        if route.matches(scope)[0] is not Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    if "GET" in methods:
        methods.add("HEAD")
    return sorted(methods)
