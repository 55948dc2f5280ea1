"""Pages: each page trigger of an action becomes a route that shows its result by a template.

A page takes the steps of a REST call, but for three: its token may come from a cookie, its input from an HTML form, and
what it answers, errors too, is for people.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Receive, Scope

from servey.actions import Action, kebab_case
from servey.bodies import body_chunks
from servey.conditional import with_cache_control
from servey.context import Context
from servey.dependencies import injected_part
from servey.errors import (
    ActionError,
    ActionTimeout,
    ConfigError,
    Forbidden,
    InvalidParams,
    ServeyError,
    Unauthenticated,
)
from servey.invoke import Stream, admit, perform, validate
from servey.limits import read_body
from servey.origins import leads_to_known
from servey.pages import Redirect, WebPageResponse
from servey.routers.cookies import cookie_of, forget_token, is_forged, page_token
from servey.routers.decode import FORMS
from servey.routers.failures import Failure, failure_page
from servey.routers.query import Shape, check_shapes, places_of
from servey.routers.rest import ActionRoute, Served, path_of
from servey.routers.shipped import page_headers
from servey.routers.templates import Templates, url_for
from servey.runtime import Runtime
from servey.triggers import WebPageTrigger, WebTrigger
from servey.web import Answer, bearer_token, replay, request_id_of

logger = logging.getLogger("servey")

VARY = ("Authorization", "Cookie")


def page_path(action: Action, trigger: WebPageTrigger) -> str:
    """The path of a page: its own, or one made of the action's name."""
    return trigger.path if trigger.path is not None else f"/{kebab_case(action.name)}"


def template_of(action: Action, trigger: WebPageTrigger) -> str:
    """The name of a page's template: its own, or one made of the action's name."""
    return trigger.template_name if trigger.template_name is not None else f"{action.name}.j2"


def mount_pages(router: APIRouter, runtime: Runtime, *, prefix: str = "", login: str | None = None) -> None:
    """Adds a route for every page trigger of every action; ``login`` is where a visitor gets a token, if anywhere.

    Errors: ConfigError that lists each page that can not be: a path that something else has, a template that is not
    there or is broken, a type that a query string can not hold.
    """
    pages = list(runtime.catalog.triggered_by(WebPageTrigger))
    if not pages:
        return
    templates = Templates(runtime.settings)
    unfit = templates.problems(template_of(action, trigger) for action, trigger in pages)
    problems = list(templates.problems(templates.error_templates()).values())
    taken: dict[tuple[str, str], Action] = {}
    for action, web in runtime.catalog.triggered_by(WebTrigger):
        taken.setdefault(_key(web.method.value, path_of(action, web)), action)
    for action, trigger in pages:
        path = page_path(action, trigger)
        try:
            other = taken.setdefault(_key(trigger.method.value, path), action)
            if not path.startswith("/"):
                raise action.problem(f"path is {path!r}; begin it with '/'")
            if other is not action or _has_route(action, trigger, path):
                raise ConfigError(
                    f"{trigger.method} {path} is a page of action '{action.name}' ({action.place}) "
                    f"and a route of action '{other.name}' ({other.place}); give one of them another path"
                )
            template = template_of(action, trigger)
            if template in unfit:
                raise action.problem(unfit[template])
            route = WebTrigger(trigger.method, path)
            _add_page(router, ServedPage(runtime, action, route, None, prefix, templates, template, login), path)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)


def _key(method: str, path: str) -> tuple[str, str]:
    return method, re.sub(r"\{[^}]*\}", "{}", path)


def _has_route(action: Action, trigger: WebPageTrigger, path: str) -> bool:
    """Whether the same action has something else where one of its pages is."""
    key = _key(trigger.method.value, path)
    others = [each for each in action.triggers if each is not trigger]
    return any(
        isinstance(each, WebTrigger) and _key(each.method.value, path_of(action, each)) == key for each in others
    )


@dataclass(frozen=True)
class ServedPage(Served):
    """What a page's route serves: one page trigger of one action."""

    templates: Templates
    template: str
    login: str | None


def _add_page(router: APIRouter, served: ServedPage, path: str) -> None:
    action = served.action
    injection = served.runtime.plan(action).injection
    path_keys = re.findall(r"\{([a-zA-Z_]\w*)(?::\w+)?\}", path)
    places = places_of(action, path_keys, takes_body=served.takes_body)
    known = places.path | (injection.in_address if injection is not None else frozenset())
    unknown = [key for key in path_keys if key not in known]
    if unknown:
        raise action.problem(f"path {path!r} has '{unknown[0]}', which is no parameter of the function")
    in_body = injection.in_body if injection is not None else ()
    if not served.takes_body and in_body:
        raise action.problem("comes from the body; use a method with one, e.g. WebPageTrigger('POST')", in_body[0].name)
    check_shapes(action, places.query, "a query string")
    part = injected_part(action)
    part.servey = served  # type: ignore[attr-defined]
    router.add_api_route(
        served.prefix + path,
        part,
        methods=[served.trigger.method.value],
        name=f"page:{action.name}",
        response_class=HTMLResponse,
        response_model=None,
        include_in_schema=False,
        route_class_override=PageRoute,
    )


class InvalidPage(InvalidParams):
    """Invalid parameters of a page, with what its visitor has given."""

    def __init__(self, errors: list[dict[str, Any]], given: Mapping[str, Any]) -> None:
        super().__init__(errors)
        self.given = given


class PageRoute(ActionRoute):
    """The route of one page."""

    serve = cast(Any, None)  # it has no compiled form

    @property
    def page(self) -> ServedPage:
        """What it serves."""
        assert isinstance(self.served, ServedPage)
        return self.served

    async def _serve(
        self, scope: Scope, receive: Receive, answer: Answer, let_go: Callable[[], None], admitted: Context | None
    ) -> None:
        runtime = self.served.runtime
        request = Request(scope, receive)
        opened = runtime.context(
            "page",
            token=page_token(scope),
            request_id=request_id_of(scope),
            request=request,
            app=self.dependency_overrides_provider,
        )
        async with opened as context:
            given: dict[str, Any] = {}
            try:
                await admit(self._plan, context)
                given = await self._decode(request, context)
                try:
                    values = await validate(self._plan, given, context)
                except InvalidParams as error:
                    raise self._located(error) from None
                result = await perform(self._plan, values, context)
            except Unauthenticated:
                if is_forged(scope):
                    raise Forbidden("This was sent from a page of another site, so that it was not done") from None
                raise
            except InvalidParams as error:
                raise InvalidPage(error.detail, given) from None
            response = await self._answered(result, request, context)
            await response(scope, receive, answer.send)

    async def _answered(self, result: Any, request: Request, context: Context) -> Response:
        """The answer that stands for a result."""
        action, scope = self.served.action, request.scope
        if isinstance(result, WebPageResponse | Redirect) and self._plan.keeping is not None:
            raise action.problem("annotate what it returns with WebPageResponse or Redirect, so that it is not kept")
        response: Response
        if isinstance(result, Response):
            response = result
        elif isinstance(result, Redirect):
            response = _redirect(result, request, self.served.runtime.settings.redirect_origins)
        else:
            response = await self._rendered_page(result, request, context)
        response.raw_headers.extend(self._headers(context))
        if response.media_type == "text/html" or response.headers.get("content-type", "").startswith("text/html"):
            page_headers(response, self.served.runtime.settings.page_csp)
        made_at = context.made_at
        return with_cache_control(response, action.cache_control, result, scope, made_at=made_at, vary=VARY)

    async def _rendered_page(self, result: Any, request: Request, context: Context) -> Response:
        action = self.served.action
        injected = context.resources.response
        status = injected.status_code if injected is not None and injected.status_code else 200
        template, headers = self.page.template, {}
        if isinstance(result, WebPageResponse):
            status, headers = result.status_code, _checked_headers(result.headers)
            template, result = result.template_name or template, result.model
        try:
            async with asyncio.timeout_at(context.deadline):
                model = [item async for item in result] if isinstance(result, Stream) else result
                content = await self._render(template, request, {"model": model, **await _caller(context)})
        except TimeoutError as error:
            if context.deadline is None or context.deadline > asyncio.get_running_loop().time():
                raise ServeyError("the template ended with a TimeoutError of its own") from error
            raise ActionTimeout(action.timeout) from None
        return HTMLResponse(content, status, headers)

    async def _render(self, template: str, request: Request, variables: Mapping[str, Any]) -> str:
        known = self._variables(request, variables)
        return str(await self._in_thread(lambda: self.page.templates.render(template, known)))

    async def _in_thread(self, render: Callable[[], str | None]) -> str | None:
        text: str | None = await self.served.runtime.threads.run(render, lambda: None)
        return text

    def _variables(self, request: Request, variables: Mapping[str, Any]) -> dict[str, Any]:
        """What every template is given, and these."""
        where = url_for(request, self.served.prefix)
        return {"request": request, "url_for": where, "authorization": None, "errors": {}, "values": {}, **variables}

    async def _failed(self, error: Exception, known: ActionError, request: Request) -> Response:
        """The page that stands for an error: the project's own template for it, else one of ours."""
        served, scope = self.page, request.scope
        settings = served.runtime.settings
        shapes = {**self._query_shapes, **self._body_shapes}
        names = [name for param in served.action.signature.client for name in param.names]
        failure = Failure(
            error=known,
            raised=error if known.status == 500 and known is not error else None,
            request_id=request_id_of(scope),
            given=error.given if isinstance(error, InvalidPage) else {},
            fields={name: shapes[name] for name in names if name in shapes},
            injected=self._plan.injection.in_body if self._plan.injection is not None else (),
            method=served.trigger.method.value,
            path=_visited(scope),
            query=scope["query_string"].decode("latin-1"),
            login=None if served.login is None else str(scope.get("root_path", "")) + served.login,
            is_dev=settings.is_dev,
        )
        response = await self._own_failure(failure, request) or failure_page(failure)
        response.headers.update(known.headers)
        if known.status == 401 and bearer_token(scope) is None and cookie_of(scope) is not None:
            forget_token(response, settings, scope)
        return response

    async def _own_failure(self, failure: Failure, request: Request) -> Response | None:
        """What the project's own template makes of an error; None where it has none, or where that fails itself."""
        templates, variables = self.page.templates, self._variables(request, failure.variables())
        try:
            text = await self._in_thread(lambda: templates.render_first(failure.template_names, variables))
        except Exception:
            logger.exception("the template of error %s failed (request %s)", failure.error.status, failure.request_id)
            return None
        if text is None:
            return None
        answer = HTMLResponse(text, failure.error.status, headers={"Cache-Control": "no-store"})
        return page_headers(answer, self.served.runtime.settings.page_csp)

    async def _decode_body(self, request: Request, context: Context) -> dict[str, Any]:
        """A form's fields, or those of a JSON object."""
        media_type = (request.headers.get("content-type") or "").partition(";")[0].strip().lower()
        if self._takes_form or media_type not in FORMS:
            return _without_blanks(await super()._decode_body(request, context), self._body_shapes)
        raw = await read_body(
            body_chunks(request.receive),
            length=request.headers.get("content-length"),
            limit_bytes=self._limit,
            timeout=self.served.runtime.settings.body_timeout,
        )
        context.resources.request = request = Request(request.scope, replay(raw, request.receive))
        return _without_blanks(await self._decode_form(request, raw, context), self._body_shapes)


def _visited(scope: Scope) -> str:
    """The path of a request as it stands in an address, with what the app is mounted below; never one of another host."""
    root = str(scope.get("root_path", ""))
    path = root + scope["path"].removeprefix(root)
    return "/" + quote(path.lstrip("/"), safe="/:@!$&'()*+,;=~-._")


async def _caller(context: Context) -> dict[str, Any]:
    """Who visits, for the template; a bad token is nobody's where no one asked for it."""
    try:
        return {"authorization": await context.authorize()}
    except Unauthenticated:
        return {"authorization": None}


def _without_blanks(given: Mapping[str, Any], shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """The same without the fields that were left empty: a browser sends them all, and only text may be empty."""
    kept: dict[str, Any] = {}
    for name, value in given.items():
        shape = shapes.get(name)
        if value == "" and shape is not None and not shape.is_text:
            continue
        kept[name] = _without_blanks(value, shape.fields) if isinstance(value, dict) and shape is not None else value
    return kept


_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers that can not become more than they are. Errors: ActionError 400.

    Source: RFC 9110 section 5.5.
    """
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            logger.warning("a page's header %r was refused: %r can not stand in it", name, value[:100])
            raise ActionError(400, "http_400", "This request asks for a header that can not be")
    return dict(headers)


def _redirect(redirect: Redirect, request: Request, allowed: tuple[str, ...]) -> Response:
    """The answer that leads to another address, of this app or of an origin that may be led to. Errors: ActionError 400."""
    response = RedirectResponse(redirect.url, redirect.status_code)
    where = response.headers["location"]
    if not leads_to_known(where, request.scope, allowed):
        logger.warning("a redirect to %r was refused; SERVEY_REDIRECT_ORIGINS may allow its origin", where[:200])
        raise ActionError(400, "http_400", "This leads to another site")
    return response
