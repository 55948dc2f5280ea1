"""``/jobs/{id}``: the state of a job, for the caller who enqueued it; ``DELETE`` cancels it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from servey.calls.job_access import visible_to
from servey.core.errors import ActionError, NotFound
from servey.core.queues import State
from servey.http.errors import error_response
from servey.http.guarded import filled_route
from servey.http.tokens import caller_token
from servey.http.web import json_response, operation_id_of, request_id_of
from servey.runtime.runtime import Runtime


class JobBody(BaseModel, defer_build=True):
    """A job."""

    id: str
    action: str
    state: State
    progress: dict[str, float | None] | None
    result: Any
    error: dict[str, Any] | None


def mount_jobs(router: APIRouter, runtime: Runtime, *, prefix: str = "", scheme: Any = None) -> None:
    """Add ``GET /jobs/{id}`` and ``DELETE /jobs/{id}``."""

    async def answer(request: Request, job_id: str, *, cancel: bool) -> Response:
        async with runtime.context(
            "rest", token=caller_token(request.scope, runtime), request_id=request_id_of(request.scope)
        ) as context:
            try:
                may_see = await visible_to(context, request)
                state = await runtime.queue.state(job_id)
                if state is None or not may_see(state.job):
                    raise NotFound("There is no such job")
                if cancel and await runtime.queue.cancel(job_id):
                    state = await runtime.queue.state(job_id) or state
            except ActionError as error:
                # Answered here, since a host app has no handler for it.
                return error_response(error, runtime, request.scope)
            return json_response(state.as_json(), headers={"Cache-Control": "no-store"})

    async def job(request: Request, id: str) -> Response:
        """Get the state of a job."""
        return await answer(request, id, cancel=False)

    async def cancel_job(request: Request, id: str) -> Response:
        """Cancel a job. A running one is still `running` in the response; it ends as `cancelled` soon."""
        return await answer(request, id, cancel=True)

    for method, endpoint in (("GET", job), ("DELETE", cancel_job)):
        router.add_api_route(
            f"{prefix}/jobs/{{id}}",
            endpoint,
            methods=[method],
            name=endpoint.__name__,
            route_class_override=filled_route(runtime),
            operation_id=operation_id_of(endpoint.__name__, prefix),
            tags=["jobs"],
            response_model=None,
            responses={
                200: {"model": JobBody, "description": "The state of the job"},
                404: {"description": "No job with this id that the caller enqueued"},
            },
        )
