"""The response of an action's result, with the headers and the status that dependencies set on an injected response."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.responses import Response
from starlette.types import Scope

from servey.calls.invoke import Plan
from servey.core.cache import (
    LONGEST_SECONDS,
    CacheControl,
    SecureHashCacheControl,
    TimestampCacheControl,
    TtlCacheControl,
    cache_header,
    strong_etag,
)
from servey.core.clock import Clock
from servey.core.process import Process
from servey.http.conditional import with_cache_control
from servey.http.web import JSON, has_body


def rendered(result: Any, content: bytes | None, injected: Response | None, status: int = 200) -> Response:
    """Return the response of a result; ``content`` is its JSON, or None if the result is itself a response.

    ``status`` is the route's; an injected response may set another one.
    """
    if content is None:
        whole: Response = result  # as in FastAPI, headers of an injected response are not added to it
        return whole
    headers = list(injected.raw_headers) if injected is not None else []
    status = injected.status_code if injected is not None and injected.status_code else status
    if not has_body(status):
        content = b""
    response = Response(content, status, media_type=JSON)
    response.raw_headers.extend(headers)
    return response


LINK: dict[str, Any] = {"description": "The next page, if there is one", "schema": {"type": "string"}}
"""The OpenAPI document's description of the header that `next_link` returns."""


def next_link(query: str, names: Collection[str], cursor: str) -> str:
    """Return the ``Link`` header of the next page: the same query with another cursor.

    Shape: ``names`` are those of the cursor's parameter. The link is relative to the URL of the request, so it is right
    behind every proxy. Source: RFC 8288.
    """
    kept = [(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if name not in names]
    return f'<?{urlencode([*kept, (next(iter(names)), cursor)])}>; rel="next"'


def with_cache_headers(
    plan: Plan, response: Response, result: Any, scope: Scope, runtime: Process, made_at: float | None = None
) -> Response:
    """Return the response with the headers of its action's cache control, or the 304 or 412 of a conditional request."""
    reads = plan.injection.vary_of(scope.get("app")) if plan.injection is not None else ()
    control, vary = plan.action.cache_control, runtime.token_source.vary
    return with_cache_control(response, control, result, scope, runtime, made_at=made_at, vary=vary, reads=reads)


Headers = list[tuple[bytes, bytes]]
Found = tuple[int, Headers, bytes]
"""The status, the headers and the body of a response."""


class CacheHeaders:
    """What `with_cache_headers` adds to the JSON of one action, as bytes, for requests with the usual headers."""

    def __init__(self, plan: Plan, control: TtlCacheControl | SecureHashCacheControl, clock: Clock) -> None:
        self._control = control
        self._clock = clock
        self._ttl = control.ttl if isinstance(control, TtlCacheControl) else 0.0
        self._injection = plan.injection
        self._second = -1
        self._by_time_left: dict[int, tuple[Headers, Headers]] = {}

    def respond(
        self, body: bytes, etag: bytes | None, made_at: float | None, request: Mapping[bytes, bytes], app: Any
    ) -> Found | None:
        """Return the response, or None if another part of the program has to make it.

        Shape: ``request`` are the headers of the request; without an ``etag`` it is computed.
        """
        if b"if-match" in request or b"if-unmodified-since" in request or b"if-modified-since" in request:
            return None
        reads = self._injection.vary_of(app) if self._injection is not None else ()
        if reads is None:
            return None
        if etag is None:
            etag = strong_etag(body).encode()
        asked = request.get(b"if-none-match")
        if asked is not None and asked != etag:
            return None
        now = self._clock.now()
        age = 0.0 if made_at is None else max(0.0, now - made_at)
        first, last = self._at(now, int(min(self._ttl - age, LONGEST_SECONDS)), age)
        if self._injection is not None:
            names = ("Authorization", *reads) if self._control.private else reads
            last = [pair for pair in last if pair[0] != b"vary"]
            last += [(b"vary", ", ".join(names).encode("latin-1"))] if names else []
        fields = [*first, (b"etag", etag), *last]
        if asked is not None:
            return 304, fields, b""
        return 200, [(b"content-length", b"%d" % len(body)), (b"content-type", JSON.encode()), *fields], body

    def _at(self, now: float, left: int, age: float) -> tuple[Headers, Headers]:
        """Return the headers before and after the ``ETag``, which change once a second."""
        if int(now) != self._second:
            self._second = int(now)
            self._by_time_left.clear()
        found = self._by_time_left.get(left)
        if found is None:
            fields = cache_header(self._control, None, None, now=now, made_at=now - age).fields()
            first = [(b"cache-control", fields.pop("cache-control").encode("latin-1"))]
            last = [(name.encode(), value.encode("latin-1")) for name, value in fields.items()]
            if self._control.private:
                last.append((b"vary", b"Authorization"))
            found = self._by_time_left[left] = first, last
        return found


def cache_headers(plan: Plan, method: str, status: int, clock: Clock) -> CacheHeaders | None:
    """Return what makes the responses of an action with a cache control, or None if its kind needs the result itself."""
    control = plan.action.cache_control
    if method != "GET" or status != 200:
        return None
    if type(control) is TtlCacheControl or type(control) is SecureHashCacheControl:  # a subclass may read the result
        return CacheHeaders(plan, control, clock)
    return None


def described_headers(control: CacheControl, *, reads: bool) -> dict[str, Any]:
    """Return the cache headers of a response as OpenAPI describes them."""
    described = {"Cache-Control": f"How long the response may be cached: {control}"}
    if isinstance(control, TtlCacheControl):
        described["Expires"] = "The expiry as a date"
    if reads:
        described["ETag"] = "A hash of the body, for `If-None-Match`"
    if reads and isinstance(control, TimestampCacheControl):
        described["Last-Modified"] = f"The result's `{control.updated_at_attr}`, for `If-Modified-Since`"
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in described.items()}
