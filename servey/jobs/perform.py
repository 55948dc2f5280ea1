"""What a worker does with one job, whatever queue it came from."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from random import uniform
from typing import TYPE_CHECKING, Any, Literal

from servey.errors import ActionError, NotFound, Unauthenticated
from servey.invoke import invoke
from servey.jobs.webhooks import deliver
from servey.metrics import JOBS
from servey.queues import Job
from servey.telemetry import processing
from servey.web import known_error

if TYPE_CHECKING:
    from servey.runtime import Runtime

logger = logging.getLogger("servey")

_TRY_LATER = {408, 425, 429}
_PUT_OFF_SECONDS = (0.5, 1.5)


@dataclass(frozen=True)
class Outcome:
    """What came of one try.

    Shape: ``state`` is what the job is now; ``queued`` for one that is to be tried again ``wait`` seconds later; ``tried``
    is False for one that was put off without a try.
    """

    state: Literal["done", "queued", "failed", "dead"]
    result: Any = None
    error: dict[str, Any] | None = None
    wait: float = 0
    tried: bool = True


async def perform_job(runtime: Runtime, job: Job, tries: int) -> Outcome:
    """Tries a job, for the ``tries``-th time. Errors: CancelledError alone; everything else is an outcome."""
    if job.channel is not None and runtime.deliveries[job.channel] >= runtime.settings.webhook_concurrency:
        # A receiver that hangs must not hold every place of this worker.
        return Outcome("queued", wait=uniform(*_PUT_OFF_SECONDS), tried=False)
    outcome = "returned"
    try:
        made = await _tried(runtime, job, tries)
        outcome = "retried" if made.state == "queued" else made.state
        return made
    finally:
        runtime.metrics.add(JOBS, job.title, outcome)


async def _tried(runtime: Runtime, job: Job, tries: int) -> Outcome:
    carrier = {"traceparent": job.traceparent} if job.traceparent is not None else None
    try:
        with processing(runtime, "servey_jobs", job.title, carrier):
            return Outcome("done", await _result_of(runtime, job))
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) is None or task.cancelling():
            raise
        error: ActionError = known_error(RuntimeError("the job was cancelled from within"), job.request_id, job.title)
    except Exception as raised:
        error = known_error(raised, job.request_id, job.title)
    return after_failure(job, tries, error)


def after_failure(job: Job, tries: int, error: ActionError) -> Outcome:
    """What becomes of a job whose ``tries``-th try has failed."""
    body = {**error.body(), "code": error.code}
    final = "failed" if job.retry.max_tries == 1 else "dead"
    hopeless = error.status < 500 and error.status not in _TRY_LATER
    if hopeless or tries >= job.retry.max_tries:
        logger.error(
            "job '%s' (%s) is given up after try %d: %s",
            job.title,
            job.id,
            tries,
            error,
            extra={"request_id": job.request_id},
        )
        return Outcome("dead" if final == "dead" else "failed", error=body)
    wait = job.retry.wait_after(tries)
    asked = error.headers.get("Retry-After", "")
    if asked.isdigit():
        wait = max(wait, min(float(asked), _LONGEST_WAIT))
    logger.warning(
        "job '%s' (%s) failed at try %d and is tried again in %.1f s: %s", job.title, job.id, tries, wait, error
    )
    return Outcome("queued", error=body, wait=wait)


_LONGEST_WAIT = 86_400


def worker_lost(job: Job) -> Outcome:
    """What becomes of a job that has ended the processes of several workers."""
    error = ActionError(500, "worker_lost", "The workers that ran this job have died")
    logger.error("job '%s' (%s) is given up: its workers have died", job.title, job.id)
    return Outcome("dead", error=error.body())


async def _result_of(runtime: Runtime, job: Job) -> Any:
    if job.channel is not None:
        await deliver(runtime, job)
        return None
    if job.action not in runtime.catalog:
        raise NotFound(f"There is no action '{job.action}' any more")
    action = runtime.catalog[job.action]
    authorization = job.authorization
    if authorization is not None and not authorization.is_valid_at(datetime.now(UTC)):
        if not job.trusted:
            raise Unauthenticated("The token of the enqueuer has expired")
        authorization = None
    async with runtime.context(
        "job", authorization=authorization, trusted=job.trusted, request_id=job.request_id or None
    ) as context:
        context.job_id = job.id
        result = await invoke(action, job.params, context)
        await runtime.reports_told(job.id)
        assert action.result is not None  # nothing else becomes a job
        return action.result.dump_python(result, mode="json", by_alias=True, warnings=False)
