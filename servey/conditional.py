"""The HTTP half of caching: what an answer says of how long it holds good, and the 304 for a client that has it already.

Everything that sends a result over HTTP makes its answer first and then passes it through `with_cache_control`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from starlette.responses import Response
from starlette.types import Scope

from servey.cache import CacheControl, cache_header, precondition
from servey.errors import ActionError
from servey.web import error_response

_CONDITIONAL_METHODS = ("GET", "HEAD")
_OF_CONTENT = ("content-type", "content-length", "content-encoding", "content-language", "content-range")


def with_cache_control(
    response: Response,
    control: CacheControl | None,
    value: Any,
    scope: Scope,
    *,
    made_at: float | None = None,
    vary: Sequence[str] = ("Authorization",),
) -> Response:
    """The answer with what its cache control says of it, or the 304 or 412 that the request's conditions come to.

    Only a 200 is ever cached; one that sets a cookie is not, and one that says its own ``Cache-Control`` is left as it is.
    Shape: ``value`` is the result that the answer stands for, ``made_at`` when it was made, unless just now; ``vary``
    names the request's header fields that tell one caller from another.
    Source: RFC 9110 sections 9.3.3 (a POST has no validators) and 15.4.5 (the fields of a 304).
    """
    if control is None or "cache-control" in response.headers:
        return response
    if response.status_code != 200 or "set-cookie" in response.headers:
        response.headers["cache-control"] = "no-store"
        return response
    is_conditional = scope["method"] in _CONDITIONAL_METHODS
    content = bytes(response.body) if is_conditional and hasattr(response, "body") else None
    now = time.time()
    header = cache_header(control, value, content, now=now, made_at=made_at)
    if not is_conditional:
        header = replace(header, last_modified=None)
    elif "etag" in response.headers:
        header = replace(header, etag=response.headers["etag"])
    response.headers.update(header.fields())
    if header.private:
        for name in vary:
            response.headers.add_vary_header(name)
    state = "met" if content is None else precondition(header, _fields_of(scope), now=now)
    if state == "failed":
        return error_response(ActionError(412, "http_412", "Precondition Failed"))
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
