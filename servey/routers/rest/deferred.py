"""``Prefer: respond-async``: run the call as a job and answer 202 with the job's location.

Source: RFC 7240 section 4.1.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

from starlette.responses import Response
from starlette.types import Scope

from servey.calls.dependencies import call_with_dependencies
from servey.calls.enqueue import enqueue_valid
from servey.calls.injection import Injection
from servey.calls.invoke import Plan
from servey.calls.resources import Resources
from servey.compat import fastapi as compat
from servey.core.context import Context, _current
from servey.core.errors import ActionError
from servey.core.queues import ONE_TRY, Job, JobState, RequestPart
from servey.http.web import json_response

_LATER = b"respond-async"
_GENERIC = b"handling=lenient"
"""The preference that makes the generic form serve a request, to debug the compiled one."""


def prefers_later(scope: Scope) -> bool:
    """Whether a request prefers to be answered now and processed later."""
    for name, value in scope["headers"]:
        if name == b"prefer" and _LATER in _preferences(value):
            return bool(scope["method"] != "HEAD")
    return False


def needs_generic_form(prefer: bytes, *, may_be_later: bool) -> bool:
    """Whether a request with this ``Prefer`` header needs the generic form; ``may_be_later`` says that its call can be a
    job.
    """
    preferences = _preferences(prefer)
    return _GENERIC in preferences or (may_be_later and _LATER in preferences)


def _preferences(prefer: bytes) -> list[bytes]:
    return [each.partition(b";")[0].strip().lower() for each in prefer.split(b",")]


async def accepted(
    plan: Plan,
    given: Mapping[str, Any],
    values: dict[str, Any],
    context: Context,
    scope: Scope,
    path: str,
    around: Injection | None,
) -> Response | None:
    """Run the dependencies around the route, enqueue a validated call and return the 202 answer.

    The job's URL is below ``path``; ``around`` has the route's dependencies.

    The job is tried once, unless the action has a ``retry``. Returns None if this request cannot be answered later,
    because a dependency needs its body, or needs the request itself: then it is answered at once.
    Errors: ActionError 503 if no lifespan is running, so that no job would run.
    """
    if not context.runtime.is_running:
        raise ActionError(503, "unavailable", "Jobs do not run because the app's lifespan is not running")
    part = _part_of(plan, context, scope)
    if part is None:
        return None
    if around is not None:
        await _run_guards(around, context, plan.action.timeout)
    job_id = await enqueue_valid(context, plan, given, values, retry=plan.action.retry or ONE_TRY, request=part)
    await context.succeed()  # the guards may hold something back
    body = JobState(Job(job_id, plan.action.name, None)).as_json()
    headers = {"Location": f"{path}/jobs/{job_id}", "Preference-Applied": "respond-async", "Cache-Control": "no-store"}
    return json_response(body, 202, headers)


async def _run_guards(around: Injection, context: Context, timeout: float) -> None:
    """Run the dependencies that an app or a router has for all its routes; those of the action itself run in the job."""
    guards = around.guards
    if guards is None:
        return
    running = _current.set(context)
    context.deadline = asyncio.get_running_loop().time() + timeout
    try:
        await call_with_dependencies(guards, context, _pass, timeout=timeout)
    finally:
        _current.reset(running)


async def _pass(injected: Mapping[str, Any]) -> None:
    """Do nothing: the dependencies have run."""


def _part_of(plan: Plan, context: Context, scope: Scope) -> RequestPart | None:
    """Return what the job needs of the request, or None if a job cannot have all of it."""
    injection = plan.injection
    if injection is None:
        return RequestPart()
    resources: Resources = context.resources
    dependant = compat.overridden(injection.dependant, resources.app)
    if compat.requests_needed(dependant, in_job=True) is not None:
        return None
    sent = resources.body or {}
    if any(param.alias in sent for param in injection.in_body):
        return None
    names = compat.names_read(dependant)
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    kept = [(name, value) for name, value in headers if name in names.headers]
    if names.cookies and "cookie" not in names.headers:
        chunks = [chunk.strip() for name, value in headers if name == "cookie" for chunk in value.split(";")]
        wanted = [chunk for chunk in chunks if chunk.partition("=")[0].strip() in names.cookies]
        kept += [("cookie", "; ".join(wanted))] if wanted else []
    pairs = scope["query_string"].decode("latin-1").split("&")
    query = "&".join(pair for pair in pairs if unquote_plus(pair.partition("=")[0]) in names.query)
    path = {name: str(value) for name, value in scope["path_params"].items() if name in names.path}
    return RequestPart(tuple(kept), query, path)
