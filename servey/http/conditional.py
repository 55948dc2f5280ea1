"""HTTP caching: adds cache headers to responses and evaluates conditional requests.

Every HTTP transport builds its response first and then passes it through `with_cache_control`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from starlette.responses import Response
from starlette.types import Scope

from servey.core.cache import CacheControl, cache_header, precondition
from servey.core.errors import ActionError
from servey.core.process import Process
from servey.http.errors import error_response

_CONDITIONAL_METHODS = ("GET", "HEAD")
_OF_CONTENT = ("content-type", "content-length", "content-encoding", "content-language", "content-range")


def with_cache_control(
    response: Response,
    control: CacheControl | None,
    value: Any,
    scope: Scope,
    runtime: Process,
    *,
    made_at: float | None = None,
    vary: Sequence[str],
    reads: Sequence[str] | None = (),
) -> Response:
    """Return the response with its cache headers, or a 304 or 412 according to the request's preconditions.

    Only a 200 without ``Set-Cookie`` is cached. A response with its own ``Cache-Control`` is returned unchanged.
    Shape: ``value`` is the result, ``made_at`` the time when it was computed (now if omitted); ``vary`` names the request
    headers that identify the caller, ``reads`` further request headers that the result depends on, or None if they are
    unknown: then no cache may store the response.
    Source: RFC 9110 sections 9.3.3 (a POST has no validators) and 15.4.5 (the fields of a 304).
    """
    if control is None or "cache-control" in response.headers:
        return response
    if response.status_code != 200 or "set-cookie" in response.headers:
        response.headers["cache-control"] = "no-store"
        return response
    is_conditional = scope["method"] in _CONDITIONAL_METHODS
    content = bytes(response.body) if is_conditional and hasattr(response, "body") else None
    now = runtime.clock.now()
    header = cache_header(control, value, content, now=now, made_at=made_at)
    if not is_conditional:
        header = replace(header, last_modified=None)
    elif "etag" in response.headers:
        header = replace(header, etag=response.headers["etag"])
    response.headers.update(header.fields())
    if reads is None:
        response.headers["cache-control"] = "private, no-store"
        del response.headers["expires"]
    for name in (*(vary if header.private else ()), *(reads or ())):
        response.headers.add_vary_header(name)
    state = "met" if content is None else precondition(header, _fields_of(scope), now=now)
    if state == "failed":
        return error_response(ActionError(412, "http_412", "Precondition Failed"), runtime, scope)
    return _not_modified(response) if state == "not modified" else response


def _fields_of(scope: Scope) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        fields[key] = f"{fields[key]}, {text}" if key in fields else text
    return fields


def _not_modified(response: Response) -> Response:
    answer = Response(status_code=304, background=response.background)
    answer.raw_headers = [pair for pair in response.raw_headers if pair[0].decode("latin-1") not in _OF_CONTENT]
    return answer
