"""Decodes a request into an action's parameters: from the path, the query string and the body."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any
from urllib.parse import unquote_to_bytes

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Receive, Scope

from servey.calls.invoke import Plan
from servey.compat.forms import parsed_multipart, request_with_form
from servey.compat.starlette import remember_body
from servey.core.context import Context
from servey.core.errors import InvalidParams, UnsupportedMediaType
from servey.core.triggers import BODY_METHODS, WebTrigger
from servey.http.bodies import check_charset, parse_json, whole_body
from servey.http.handlers import PARSED_BODY
from servey.http.web import JSON, replay
from servey.routers.rest.query import (
    Places,
    checked_text,
    flatten,
    nest,
    parse_plain_form,
    parse_query,
    refuse_unknown,
    structures_of,
)
from servey.routers.rest.shapes import Shape
from servey.runtime.runtime import Runtime

FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")


def check_path(scope: Scope) -> None:
    """Reject a path that is not UTF-8 or contains a NUL character. Errors: InvalidParams."""
    path = scope["path"]
    if "\0" in path or "\ufffd" in path:
        checked_text(unquote_to_bytes(scope.get("raw_path") or path), "path")


def check_json_type(content_type: str | None) -> None:
    """Reject a body whose media type is not JSON. Errors: UnsupportedMediaType.

    Source: RFC 9110 section 8.3.1, RFC 6839 section 3.1 (``+json``).
    """
    media_type = (content_type or "").partition(";")[0].strip().lower()
    kind, _, subtype = media_type.partition("/")
    if kind != "application" or not (subtype == "json" or subtype.endswith("+json")):
        raise UnsupportedMediaType(content_type or "", JSON)


def check_form_type(content_type: str | None) -> str:
    """Return the media type of a form. Errors: UnsupportedMediaType for another type or charset."""
    media_type = (content_type or "").partition(";")[0].strip().lower()
    if media_type not in FORMS:
        raise UnsupportedMediaType(media_type, " or ".join(FORMS))
    check_charset(content_type)
    return media_type


async def parsed_form(request: Request, raw: bytes) -> FormData:
    """Return the form in the body ``raw``, which the request repeats. Errors: UnsupportedMediaType, InvalidParams."""
    is_multipart = check_form_type(request.headers.get("content-type")).startswith("multipart/")
    if not is_multipart:
        parse_query(raw, "body")  # rejects invalid text
    try:
        return await (parsed_multipart(request) if is_multipart else request.form())
    except (HTTPException, KeyError, ValueError) as error:
        reason = str(error.detail) if isinstance(error, HTTPException) else "The form is malformed"
        raise InvalidParams([{"type": "form_invalid", "loc": ["body"], "msg": reason, "input": None}]) from None


async def request_and_form(
    scope: Scope, receive: Receive, raw: bytes, content_type: bytes | None
) -> tuple[Request, FormData]:
    """Return the form in a body, and a request that has read it, for the compiled form of a route.

    Errors: those of `parsed_form`; ValueError for an empty body.
    """
    if not raw:
        raise ValueError
    if content_type == b"application/x-www-form-urlencoded":
        fields = parse_plain_form(raw)
        if fields is not None:
            form = FormData([*fields])
            return request_with_form(scope, receive, form), form
    request = Request(scope, replay(raw, receive))
    return request, await parsed_form(request, raw)


class RequestDecoder:
    """The part of a route that reads its action's parameters from a request."""

    places: Places
    _plan: Plan
    _runtime: Runtime
    _trigger: WebTrigger
    _has_body: bool
    _takes_form: bool
    _strict: bool
    _known_in_body: frozenset[str]
    _known_in_query: frozenset[str]
    _limit: int
    param_convertors: Any

    # On the first request: the structures of all routes would take as long as the rest of the start of an app.
    @cached_property
    def _query_shapes(self) -> Mapping[str, Shape]:
        shapes = structures_of(self._plan.action)
        return {name: shapes[name] for name in self.places.query}

    @cached_property
    def _body_shapes(self) -> Mapping[str, Shape]:
        shapes = structures_of(self._plan.action)
        return {name: shapes[name] for name in self.places.body}

    @cached_property
    def _flat_fields(self) -> Mapping[str, Shape]:
        return {} if self.places.flat is None else self._query_shapes[self.places.flat].fields

    @property
    def takes_body(self) -> bool:
        """Whether parameters come from a body."""
        return self._trigger.method in BODY_METHODS

    async def _decode(self, request: Request, context: Context) -> dict[str, Any]:
        """Return the client's input by wire name; path overrides query, query overrides body."""
        given: dict[str, Any] = {}
        scope = request.scope
        if self._has_body or (self._strict and self.takes_body):
            given = await self._decode_body(request, context)
        if self.places.flat is not None or (scope["query_string"] and (self.places.query or self._strict)):
            found = nest(parse_query(scope["query_string"]), {**self._query_shapes, **self._flat_fields})
            if self._strict:
                refuse_unknown(found, self._known_in_query, "query")
            if self.places.flat is not None:
                found = flatten(found, self.places.flat, self._flat_fields)
            given |= {name: value for name, value in found.items() if name in self.places.query}
        if self.param_convertors:
            check_path(scope)
            given |= {name: scope["path_params"][name] for name in self.places.path}
        return given

    async def _decode_body(self, request: Request, context: Context) -> dict[str, Any]:
        raw = await self._read_body(request, context)
        if self._takes_form:
            return await self._decode_form(context.resources.request, raw, context)
        if not raw:
            return {}
        check_json_type(request.headers.get("content-type"))
        request.scope[PARSED_BODY] = raw.decode(errors="replace")
        given = parse_json(raw)
        request.scope[PARSED_BODY] = given
        if not isinstance(given, dict):
            problem = {"type": "dict_type", "loc": ["body"], "msg": "Input should be a JSON object", "input": None}
            raise InvalidParams([problem])
        context.resources.body = given
        if self._strict:
            refuse_unknown(given, self._known_in_body, "body")
        return {name: value for name, value in given.items() if name in self.places.body}

    async def _read_body(self, request: Request, context: Context) -> bytes:
        """Read the body within its limits; the request and the call's own request can read it again."""
        remember_body(request, b"")  # an exception handler must not wait for a body that was rejected
        raw = await whole_body(
            request.receive,
            length=request.headers.get("content-length"),
            limit_bytes=self._limit,
            timeout=self._runtime.settings.body_timeout,
        )
        remember_body(request, raw)
        context.resources.request = Request(request.scope, replay(raw, request.receive))
        return raw

    async def _decode_form(self, request: Request, raw: bytes, context: Context) -> dict[str, Any]:
        if not raw:
            context.resources.body = request.scope[PARSED_BODY] = FormData()
            return {}
        form = await parsed_form(request, raw)
        context.resources.close_form(form.close)
        context.resources.body = request.scope[PARSED_BODY] = form
        given = nest(form.multi_items(), self._body_shapes)
        if self._strict:
            refuse_unknown(given, self._known_in_body, "body")
        return {name: value for name, value in given.items() if name in self.places.body}

    def _located(self, error: InvalidParams) -> InvalidParams:
        """Return the same errors with the part of the request in their locations."""
        located = []
        for item in error.detail:
            name = item["loc"][0] if item["loc"] else None
            where = "body" if self.takes_body and name not in self.places.query else "query"
            if name in self.places.path:
                where = "path"
            loc = item["loc"][1:] if name is not None and name == self.places.flat else item["loc"]
            located.append({**item, "loc": [where, *loc]})
        return InvalidParams(located)
