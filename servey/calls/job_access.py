"""Who may see a job: the caller who enqueued it."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request

from servey.core.access import Authorization
from servey.core.context import Context
from servey.core.errors import Unauthenticated
from servey.core.queues import Job


async def visible_to(context: Context, request: Request | None) -> Callable[[Job], bool]:
    """Return whether the caller of a context may see a job; ``request`` is the caller's, if it has one.

    Errors: Unauthenticated for an invalid token, unless it is the host's.
    """
    job_owner = context.runtime.job_owner
    if job_owner is None or request is None:
        caller = await context.authorize()
        return lambda job: is_enqueuer(caller, job.authorization)
    owner = await job_owner(request)
    try:
        caller = await context.authorize()
    except Unauthenticated:
        caller = None
    return lambda job: owner == job.owner if job.owner is not None else is_enqueuer(caller, job.authorization)


def is_enqueuer(caller: Authorization | None, enqueuer: Authorization | None) -> bool:
    """Return whether a caller enqueued a job. Anyone who knows its id may see a job that was enqueued without a token."""
    if enqueuer is None:
        return True
    if caller is None or caller.subject_id != enqueuer.subject_id:
        return False
    return caller.subject_id is not None or caller.scopes == enqueuer.scopes
