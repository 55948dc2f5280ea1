"""``/jobs/{id}``: what has become of a job, for whoever enqueued it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from servey.access import Authorization
from servey.errors import NotFound, Unauthenticated
from servey.queues import State
from servey.runtime import Runtime
from servey.web import bearer_token, error_response, json_response, operation_id_of, request_id_of


class JobBody(BaseModel):
    """A job."""

    id: str
    action: str
    state: State
    progress: dict[str, float | None] | None
    result: Any
    error: dict[str, Any] | None


def mount_jobs(router: APIRouter, runtime: Runtime, *, prefix: str = "", scheme: Any = None) -> None:
    """Adds ``GET /jobs/{id}``."""

    async def job(request: Request, id: str) -> Response:
        """Get what has become of a job."""
        async with runtime.context(
            "rest", token=bearer_token(request.scope), request_id=request_id_of(request.scope)
        ) as context:
            try:
                caller = await context.authorize()
            except Unauthenticated as error:
                return error_response(error)
            state = await runtime.queue.state(id)
            if state is None or not is_its(caller, state.job.authorization):
                return error_response(NotFound("There is no such job"))
            return json_response(state.as_json(), headers={"Cache-Control": "no-store"})

    router.add_api_route(
        f"{prefix}/jobs/{{id}}",
        job,
        methods=["GET"],
        name="job",
        operation_id=operation_id_of("job", prefix),
        tags=["jobs"],
        response_model=None,
        responses={
            200: {"model": JobBody, "description": "What has become of it"},
            404: {"description": "No job of this caller's"},
        },
    )


def is_its(caller: Authorization | None, enqueuer: Authorization | None) -> bool:
    """Whether a caller is the one who enqueued a job. What nobody in particular enqueued, whoever knows its id may see."""
    if enqueuer is None:
        return True
    if caller is None or caller.subject_id != enqueuer.subject_id:
        return False
    return caller.subject_id is not None or caller.scopes == enqueuer.scopes
