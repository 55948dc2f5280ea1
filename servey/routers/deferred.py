"""``Prefer: respond-async``: a call that is made later, as a job; its caller gets 202 and where to look.

Source: RFC 7240 section 4.1.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.types import Scope

from servey.context import Context
from servey.enqueue import enqueue_valid, why_no_job
from servey.invoke import Plan
from servey.queues import ONE_TRY
from servey.web import json_response


def prefers_later(scope: Scope) -> bool:
    """Whether a request asks for an answer now and the work later."""
    for name, value in scope["headers"]:
        if name == b"prefer":
            wishes = (each.partition(b";")[0].strip().lower() for each in value.split(b","))
            if b"respond-async" in wishes:
                return bool(scope["method"] != "HEAD")
    return False


def may_be_later(plan: Plan, route: Plan) -> bool:
    """Whether a route's action can be a job: not where the app around it has dependencies of its own, which only a request
    can pass.
    """
    if why_no_job(plan) is not None:
        return False
    own = len(plan.injection.dependant.dependencies) if plan.injection is not None else 0
    return route.injection is None or len(route.injection.dependant.dependencies) == own


async def accepted(plan: Plan, values: dict[str, Any], context: Context, path: str) -> Response:
    """Enqueues a validated call; the answer says where its job is, below ``path``. It is tried once, unless the action
    says how often.
    """
    job_id = await enqueue_valid(context, plan, values, retry=plan.action.retry or ONE_TRY)
    state = await context.runtime.queue.state(job_id)
    body = state.as_json() if state is not None else {"id": job_id}
    headers = {"Location": f"{path}/jobs/{job_id}", "Preference-Applied": "respond-async", "Cache-Control": "no-store"}
    return json_response(body, 202, headers)
