"""Pages: each page trigger of an action becomes a route that renders its result with a template.

A page differs from a REST route in three ways: its token may come from a cookie, its input from an HTML form, and its
responses (errors too) are HTML.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Scope

from servey.calls.invoke import authorize, perform, validate
from servey.calls.outcomes import Stream
from servey.core.actions import Action
from servey.core.actions.naming import kebab_case
from servey.core.cache import SecureHashCacheControl, TtlCacheControl
from servey.core.context import Context, Transport
from servey.core.errors import (
    ActionError,
    ActionTimeout,
    ConfigError,
    Forbidden,
    InvalidParams,
    Overloaded,
    ServeyError,
    Unauthenticated,
)
from servey.core.pages import Redirect, WebPageResponse, needs_template
from servey.core.triggers import WebPageTrigger, WebTrigger
from servey.http.conditional import with_cache_control
from servey.http.origins import leads_to_known
from servey.http.web import bearer_token, operation_id_of, request_id_of
from servey.layout.frame import STYLE_PATH, Frame, frame_of, head, mount_style
from servey.layout.page import page_headers
from servey.routers.pages.cookies import cookie_of, forget_token
from servey.routers.pages.csrf import is_csrf, page_token
from servey.routers.pages.failures import Failure, failure_page
from servey.routers.pages.templates import Templates, url_for
from servey.routers.rest.action_route import ActionRoute, Served, endpoint_of
from servey.routers.rest.decode import FORMS
from servey.routers.rest.query import shapes_of
from servey.routers.rest.routes import checked_places, path_of, route_key
from servey.routers.rest.shapes import Shape
from servey.runtime.runtime import Runtime

logger: logging.Logger = logging.getLogger("servey")

VARY = ("Authorization", "Cookie")


def page_path(action: Action, trigger: WebPageTrigger) -> str:
    """Return the path of a page: the trigger's, or by default the action's name with dashes, below its group's prefix."""
    return action.prefix + (trigger.path if trigger.path is not None else f"/{kebab_case(action.name)}")


def template_of(action: Action, trigger: WebPageTrigger) -> str:
    """Return the name of a page's template: the trigger's, or by default ``{action name}.j2``."""
    return trigger.template_name if trigger.template_name is not None else f"{action.name}.j2"


def mount_pages(router: APIRouter, runtime: Runtime, *, prefix: str = "", login: str | None = None) -> None:
    """Add a route for every page trigger of every action; ``login`` is the path of the login, if any.

    Errors: ConfigError with one line for each problem: a duplicate path, a missing or broken template, a type that a
    query string cannot express.
    """
    pages = list(runtime.catalog.triggered_by(WebPageTrigger))
    if not pages:
        return
    templates = Templates(runtime.settings)
    unfit = templates.problems(
        template_of(action, trigger)
        for action, trigger in pages
        if trigger.template_name is not None or needs_template(action.signature.returns)
    )
    mount_style(router, prefix)
    problems = list(templates.problems(templates.error_templates()).values())
    taken: dict[tuple[str, str], Action] = {}
    for action, web in runtime.catalog.triggered_by(WebTrigger):
        taken.setdefault(route_key(web.method.value, path_of(action, web)), action)
    for action, trigger in pages:
        path = page_path(action, trigger)
        try:
            other = taken.setdefault(route_key(trigger.method.value, path), action)
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


def _has_route(action: Action, trigger: WebPageTrigger, path: str) -> bool:
    """Whether another trigger of the same action has the path of this page."""
    key = route_key(trigger.method.value, path)
    others = [each for each in action.triggers if each is not trigger]
    return any(
        isinstance(each, WebTrigger) and route_key(each.method.value, path_of(action, each)) == key for each in others
    )


@dataclass(frozen=True)
class ServedPage(Served):
    """One page trigger of one action."""

    templates: Templates
    template: str
    login: str | None


def _add_page(router: APIRouter, served: ServedPage, path: str) -> None:
    action = served.action
    checked_places(served, path, "WebPageTrigger('POST')")
    router.add_api_route(
        served.prefix + path,
        endpoint_of(served),
        methods=[served.trigger.method.value],
        name=f"page:{action.name}",
        operation_id=operation_id_of(f"page_{action.name}", served.prefix),
        response_class=HTMLResponse,
        response_model=None,
        dependencies=list(action.dependencies) or None,
        include_in_schema=False,
        route_class_override=cast(Any, partial(PageRoute, served)),
    )


class InvalidPage(InvalidParams):
    """Invalid parameters of a page, with what its visitor has given."""

    def __init__(self, errors: list[dict[str, Any]], given: Mapping[str, Any]) -> None:
        super().__init__(errors)
        self.given = given


class PageRoute(ActionRoute):
    """The route of one page."""

    serve = cast(Any, None)  # pages have no compiled form
    transport: Transport = "page"

    @property
    def page(self) -> ServedPage:
        """The page of this route."""
        assert isinstance(self.served, ServedPage)
        return self.served

    async def _respond(
        self, request: Request, admitted: Context | None, stack: AsyncExitStack, release: Callable[[], None]
    ) -> Response:
        runtime, scope = self.served.runtime, request.scope
        opened = runtime.context(
            "page",
            token=page_token(scope, self.served.runtime),
            request_id=request_id_of(scope),
            request=request,
            app=self.dependency_overrides_provider,
        )
        context: Context = await stack.enter_async_context(opened)
        given: dict[str, Any] = {}
        try:
            await authorize(self._plan, context)
            given = await self._decode(request, context)
            try:
                values = await validate(self._plan, given, context)
            except InvalidParams as error:
                raise self._located(error) from None
            result = await perform(self._plan, values, context)
        except Unauthenticated:
            if is_csrf(scope, self.served.runtime.settings):
                raise Forbidden("This request was sent from another site and was refused") from None
            raise
        except InvalidParams as error:
            raise InvalidPage(error.detail, given) from None
        return await self._answered(result, request, context)

    async def _answered(self, result: Any, request: Request, context: Context) -> Response:
        """Return the response for a result."""
        action, scope = self.served.action, request.scope
        if isinstance(result, WebPageResponse | Redirect) and self._plan.cache_policy is not None:
            raise action.problem(
                "returned a WebPageResponse or Redirect; name it in the return annotation, so that it is not cached"
            )
        control = action.cache_control
        response: Response
        if isinstance(result, Response):
            response = result
        elif isinstance(result, Redirect):
            response = _redirect(result, request, self.served.runtime.settings.redirect_origins)
        else:
            response = await self._rendered_page(result, request, context)
            template = self._template_of(result)
            if isinstance(control, TtlCacheControl | SecureHashCacheControl) and not control.private:
                shows = self.page.templates.shows_visitor
                if await self.served.runtime.threads.run(lambda: shows(template), lambda: None):
                    control = replace(control, private=True)
        response.raw_headers.extend(self._headers(context))
        if response.media_type == "text/html" or response.headers.get("content-type", "").startswith("text/html"):
            page_headers(response, self.served.runtime.settings.page_csp)
        made_at = context.made_at
        reads = self._plan.injection.vary_of(scope.get("app")) if self._plan.injection is not None else ()
        runtime = self.page.runtime
        vary = tuple(dict.fromkeys((*VARY, *runtime.token_source.vary)))
        return with_cache_control(response, control, result, scope, runtime, made_at=made_at, vary=vary, reads=reads)

    def _template_of(self, result: Any) -> str:
        own = result.template_name if isinstance(result, WebPageResponse) else None
        return own or self.page.template

    async def _rendered_page(self, result: Any, request: Request, context: Context) -> Response:
        action = self.served.action
        injected = context.resources.response
        status = injected.status_code if injected is not None and injected.status_code else 200
        template, headers = self._template_of(result), {}
        if isinstance(result, WebPageResponse):
            status, headers = result.status_code, _checked_headers(result.headers)
            result = result.model
        try:
            async with asyncio.timeout_at(context.deadline):
                model = [item async for item in result] if isinstance(result, Stream) else result
                content = await self._render(template, request, {"model": model, **await _caller(context)})
        except TimeoutError as error:
            if context.deadline is None or context.deadline > asyncio.get_running_loop().time():
                raise ServeyError("the template raised a TimeoutError") from error
            raise ActionTimeout(action.timeout) from None
        return HTMLResponse(content, status, headers)

    async def _render(self, template: str, request: Request, variables: Mapping[str, Any]) -> str:
        known = self._variables(request, variables)
        return str(await self._in_thread(lambda: self.page.templates.render(template, known)))

    async def _in_thread(self, render: Callable[[], str | None]) -> str | None:
        text: str | None = await self.served.runtime.threads.run(render, lambda: None)
        return text

    def _variables(self, request: Request, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Return the variables of every template, and these."""
        where = url_for(request, self.served.prefix)
        frame = frame_of(self.served.runtime, request.scope)
        style = f'<link rel="stylesheet" href="{frame.root}{self.served.prefix}{STYLE_PATH}">'
        layout = {"title": frame.title, "head": head(style), "header": Frame(frame.title, root=frame.root).header()}
        return {
            "request": request,
            "url_for": where,
            "servey": layout,
            "authorization": None,
            "errors": {},
            "values": {},
            **variables,
        }

    def _for_handlers(self, error: Exception, scope: Scope) -> Exception | None:
        # A handler for validation errors answers a program with JSON; here a person needs the form again.
        is_invalid = isinstance(error, InvalidParams | RequestValidationError)
        return None if is_invalid else super()._for_handlers(error, scope)

    async def _failed(self, error: Exception, known: ActionError, request: Request) -> Response:
        """Return the page for an error: by the project's error template, else Servey's own."""
        served, scope = self.page, request.scope
        settings = served.runtime.settings
        shapes = {name: shape for name, shape in shapes_of(served.action).items() if name not in self.places.path}
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
        response = await self._own_failure(failure, request) or failure_page(failure, frame_of(served.runtime, scope))
        response.headers.update(known.headers)
        if known.status == 401 and bearer_token(scope, settings) is None and cookie_of(scope) is not None:
            forget_token(response, settings, scope)
        return response

    async def _own_failure(self, failure: Failure, request: Request) -> Response | None:
        """Render the project's error template; None if there is none or it fails."""
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
        """Return the fields of a form or of a JSON object."""
        media_type = (request.headers.get("content-type") or "").partition(";")[0].strip().lower()
        if self._takes_form or media_type not in FORMS:
            return _without_blanks(await super()._decode_body(request, context), self._body_shapes)
        raw = await self._read_body(request, context)
        return _without_blanks(await self._decode_form(request, raw, context), self._body_shapes)


def _visited(scope: Scope) -> str:
    """Return the percent-encoded path of a request, including the root path; never a URL of another host."""
    root = str(scope.get("root_path", ""))
    path = root + scope["path"].removeprefix(root)
    return "/" + quote(path.lstrip("/"), safe="/:@!$&'()*+,;=~-._")


async def _caller(context: Context) -> dict[str, Any]:
    """Return the caller's authorization for the template; None for a bad token, if the action does not need one."""
    try:
        return {"authorization": await context.authorize()}
    except (Unauthenticated, Overloaded):
        return {"authorization": None}


def _without_blanks(given: Mapping[str, Any], shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """Drop empty fields that are not text: a browser sends all fields of a form."""
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
    """Return the headers if their names and values are valid (no header injection). Errors: ActionError 400.

    Source: RFC 9110 section 5.5.
    """
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            logger.warning("invalid header %r of a page was refused: %r", name, value[:100])
            raise ActionError(400, "http_400", "This request leads to an invalid response header")
    return dict(headers)


def _redirect(redirect: Redirect, request: Request, allowed: tuple[str, ...]) -> Response:
    """Return the response for a redirect to this app or an allowed origin. Errors: ActionError 400."""
    response = RedirectResponse(redirect.url, redirect.status_code)
    where = response.headers["location"]
    if not leads_to_known(where, request.scope, allowed):
        logger.warning(
            "a redirect to %r was refused; add its origin to SERVEY_REDIRECT_ORIGINS to allow it", where[:200]
        )
        raise ActionError(400, "http_400", "This redirect points to another site")
    return response
