"""Answers requests for cached results with the bytes that were sent before.

A request is recognized by its query string, its path and its token, so nothing is decoded, validated or hashed. That is only
done for actions without dependencies whose parameters and results need no code of the project to be read and written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from servey.auth.tokens import cached_authorization
from servey.caching.kept import Kept
from servey.compat.pydantic import runs_user_code
from servey.core.access import Authorization
from servey.core.cache import TtlCacheControl, strong_etag
from servey.core.context import Context
from servey.observability.metrics import CACHE
from servey.routers.rest.fallback import RouteSpec
from servey.routers.rest.rendered import CacheHeaders, Found

_MAX_KEY_LENGTH = 4096
"""The longest query string, token and path of a kept response: unknown parameters would fill the memory with keys."""


class KeptAnswers:
    """The kept responses of one route."""

    def __init__(self, spec: RouteSpec, control: TtlCacheControl, *, by_caller: bool) -> None:
        self.by_caller = by_caller
        self._runtime = spec.runtime
        self._name = spec.plan.action.name
        self._ttl = control.ttl
        self._headers = CacheHeaders(spec.plan, control, spec.runtime.clock)

    async def find(self, kept_as: tuple[Any, ...], headers: Mapping[bytes, bytes]) -> Found | None:
        """Return the response of a valid result, or None if the request has to be served in the usual way."""
        runtime = self._runtime
        results = runtime.cache
        kept = results.kept.get(kept_as)
        if kept is None:
            return None
        if kept.authorization is not None:
            token = kept_as[2]
            if cached_authorization(runtime.authorizer, token) is not kept.authorization:
                return None
        read = results.peek(kept.keys)
        if read is None:
            read = await results.read(kept.keys)
        if read != kept.read or not results.is_fresh(kept.made_at, self._ttl):
            results.kept.drop(kept_as)
            return None
        found = self._headers.respond(kept.body, kept.etag, kept.made_at, headers, None)
        if found is not None:
            runtime.metrics.add(CACHE, self._name, "hit")
        return found

    def keep(self, kept_as: tuple[Any, ...], context: Context, body: bytes | None) -> None:
        """Keep the response of a cached result that was found."""
        entry = context.cached
        if not entry.keys or body is None:
            return
        if sum(len(part) for part in kept_as if isinstance(part, str | bytes)) > _MAX_KEY_LENGTH:
            return
        authorization = None
        if self.by_caller and context.token is not None:
            authorization = context.verified_authorization
            if type(authorization) is not Authorization:
                return
        kept = Kept(entry.keys, entry.read, entry.made_at, authorization, body, strong_etag(body).encode())
        self._runtime.cache.kept.add(kept_as, kept)


def kept_answers(spec: RouteSpec) -> KeptAnswers | None:
    """Return what keeps the responses of a route, or None if its results are not cached or every request is different."""
    policy, control = spec.plan.cache_policy, spec.plan.action.cache_control
    if policy is None or type(control) is not TtlCacheControl or why_not_kept(spec) is not None:
        return None
    return KeptAnswers(spec, control, by_caller=policy.by_caller)


def why_not_kept(spec: RouteSpec) -> str | None:
    """Return why the response of a cached result is encoded for each request, or None if its bytes are kept."""
    plan, action = spec.plan, spec.plan.action
    if spec.method != "GET" or spec.reads_body:
        return "only a GET is recognized by its address"
    if spec.status != 200:
        return "its status code is not 200"
    if plan.injection is not None:
        return "it has dependencies, which run for each request"
    if plan.check_with_params is not None:
        return "its access rule reads the parameters"
    if type(action.cache_control) is not TtlCacheControl:
        return "its cache control is of a class of its own"
    if action.result is None or runs_user_code(action.params.core_schema) or runs_user_code(action.result.core_schema):
        return "its types have validators, serializers, computed fields or factories of defaults"
    return None
