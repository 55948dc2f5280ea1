"""Run one job, whatever queue it came from."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from random import uniform
from typing import TYPE_CHECKING, Any, Literal

from pydantic_core import to_json

from servey.calls.invoke import invoke
from servey.calls.outcomes import ResultError
from servey.core.access import Authorization
from servey.core.errors import (
    ActionError,
    ActionTimeout,
    InvalidParams,
    NotFound,
    ServeyError,
    Unauthenticated,
    body_of,
)
from servey.core.payloads import Payload
from servey.core.queues import CancelRequest, Job
from servey.http.errors import as_action_error, known_error, shown_error
from servey.jobs.webhooks import deliver
from servey.observability.metrics import JOB_RUN, JOBS
from servey.observability.telemetry import processing

if TYPE_CHECKING:
    from servey.runtime.runtime import Runtime

logger: logging.Logger = logging.getLogger("servey")

_PUT_OFF_SECONDS = (0.5, 1.5)
_LONGEST_WAIT = 86_400
_TRY_LATER = {408, 425, 429}
WORKER_LOST: Mapping[str, Any] = {"detail": "The worker that ran this job has died", "code": "worker_lost"}


@dataclass(frozen=True)
class Outcome:
    """The outcome of one try.

    Shape: ``state`` is the job's new state, ``queued`` if it is tried again after ``wait`` seconds; ``tried`` is False if
    the job was put off without a try. ``result`` and ``error`` can be encoded as JSON.
    """

    state: Literal["done", "queued", "failed", "dead", "cancelled"]
    result: Any = None
    error: dict[str, Any] | None = None
    wait: float = 0
    tried: bool = True


class _PermanentError(Exception):
    """Another try would fail in the same way: the caller may not call, or the input is invalid."""

    def __init__(self, error: ActionError) -> None:
        super().__init__(str(error))
        self.error = error


async def perform_job(
    runtime: Runtime, job: Job, tries: int, cancel: CancelRequest, seconds: float | None = None
) -> Outcome:
    """Run a job for the ``tries``-th time. If ``cancel`` is set meanwhile, the outcome is ``cancelled``.

    A try that takes longer than ``seconds``, the remaining time of this process, has failed with a timeout.
    Errors: only CancelledError; any other error is an outcome.
    """
    if job.channel is not None and runtime.deliveries[job.channel] >= runtime.settings.webhook_concurrency:
        # A webhook receiver that hangs must not use all of this worker's concurrency.
        return Outcome("queued", wait=uniform(*_PUT_OFF_SECONDS), tried=False)
    outcome, begun = "returned", time.perf_counter()
    try:
        made = await _unless_cancelled(runtime, job, tries, cancel, seconds)
        outcome = "retried" if made.state == "queued" else made.state
        return made
    finally:
        runtime.metrics.add(JOBS, job.title, job.queue, outcome)
        runtime.metrics.observe(JOB_RUN, time.perf_counter() - begun, job.title, job.queue)


async def _unless_cancelled(
    runtime: Runtime, job: Job, tries: int, cancel: CancelRequest, seconds: float | None
) -> Outcome:
    if cancel.is_set:
        return Outcome("cancelled", tried=False)
    task = asyncio.current_task()
    if task is not None and (job.action not in runtime.catalog or runtime.catalog[job.action].is_async):
        cancel.interrupt = task.cancel
    try:
        made = await _tried(runtime, job, tries, cancel, seconds)
    except asyncio.CancelledError:
        if not cancel.is_set:
            raise
        return Outcome("cancelled")
    finally:
        cancel.interrupt = None
    return Outcome("cancelled") if cancel.is_set else made


async def _tried(runtime: Runtime, job: Job, tries: int, cancel: CancelRequest, seconds: float | None) -> Outcome:
    carrier = {"traceparent": job.traceparent} if job.traceparent is not None else None
    try:
        with processing(runtime, "servey_jobs", job.title, carrier, job.id):
            return Outcome("done", await _within(seconds, _result_of(runtime, job, cancel)))
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) is None or task.cancelling():
            raise
        failure: Exception = ServeyError("the job was cancelled from within")
    except _PermanentError as raised:
        shown, _ = shown_error(raised.error, runtime, job.request_id, "job")
        return after_failure(job, tries, shown, permanent=True)
    except GeneratorExit:
        raise
    except Exception as raised:
        failure = raised
    except BaseException as raised:
        # sys.exit() in a job, or a KeyboardInterrupt it raises, ends the job and not the worker.
        failure = ServeyError(f"the job raised {raised!r}")
        failure.__cause__ = raised
    shown = known_error(failure, runtime, job.request_id, job.title, "job")
    if as_action_error(failure) is None and 400 <= shown.status < 500 and shown.status not in _TRY_LATER:
        # The app's errors function says that the exception is an answer to the caller, and no failure of the job.
        logger.warning("job '%s' (%s) is refused: %s", job.title, job.id, _printable(_detail_of(shown)))
        return Outcome("failed", error=_error_of(shown))
    return after_failure(job, tries, shown)


async def _within(seconds: float | None, work: Awaitable[Any]) -> Any:
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await work
    except TimeoutError:
        if seconds is None or not limit.expired():
            raise
        raise ActionTimeout(round(seconds, 1)) from None


def after_failure(job: Job, tries: int, error: ActionError, *, permanent: bool = False) -> Outcome:
    """Return the outcome of a job whose ``tries``-th try has failed. A ``permanent`` error is not retried."""
    body = _error_of(error)
    if permanent or tries >= job.retry.max_tries:
        logger.error(
            "job '%s' (%s) is given up after try %d: %s", job.title, job.id, tries, _printable(_detail_of(error))
        )
        return Outcome("failed" if job.retry.max_tries == 1 else "dead", error=body)
    wait = job.retry.wait_after(tries)
    asked = error.headers.get("Retry-After", "")
    if asked.isascii() and asked.isdigit():
        wait = max(wait, min(float(asked), _LONGEST_WAIT))
    logger.warning(
        "job '%s' (%s) failed at try %d and is tried again in %.1f s: %s",
        job.title,
        job.id,
        tries,
        wait,
        _printable(_detail_of(error)),
    )
    return Outcome("queued", error=body, wait=wait)


def worker_lost(job: Job) -> Outcome:
    """Return the outcome of a job that has killed several workers."""
    error = ActionError(500, "worker_lost", "The workers that ran this job have died")
    logger.error("job '%s' (%s) is given up: its workers have died", job.title, job.id)
    return Outcome("dead", error=error.body())


def _printable(detail: Any) -> str:
    """Return an error's detail without lone surrogates, which a log in UTF-8 cannot contain."""
    return str(detail).encode("utf-8", "replace").decode()


def _error_of(error: ActionError) -> dict[str, Any]:
    body = body_of(error)
    if isinstance(error, InvalidParams) and error.own_body is None:
        body["detail"] = _detail_of(error)
    return _encodable({**body, "code": error.code})


def _detail_of(error: ActionError) -> Any:
    """Return the detail of an error without the inputs that were refused: those who read errors of jobs see no data."""
    if not isinstance(error, InvalidParams):
        return error.detail
    return [{name: each for name, each in item.items() if name != "input"} for item in error.detail]


def _encodable(body: dict[str, Any]) -> dict[str, Any]:
    """Return an error's body as JSON-compatible values; values that JSON cannot represent are replaced."""
    try:
        to_json(body)
        return body
    except ValueError:
        text = json.dumps(body, default=str, skipkeys=True, ensure_ascii=False).encode("utf-8", "replace")
        replaced: dict[str, Any] = json.loads(text)
        return replaced


async def _is_active(runtime: Runtime, authorization: Authorization) -> bool:
    """Whether the enqueuer of a job may still call. The token was valid when the job was enqueued, and may have expired."""
    is_active = getattr(runtime.authorizer, "is_active", None)
    return is_active is None or bool(await is_active(authorization))


async def _result_of(runtime: Runtime, job: Job, cancel: CancelRequest) -> Any:
    if job.channel is not None:
        try:
            await deliver(runtime, job)
        except ActionError as error:
            if error.status < 500 and error.status not in _TRY_LATER:
                raise _PermanentError(error) from error
            raise
        return None
    if job.action not in runtime.catalog:
        # During a rolling update, another worker may have the action.
        raise NotFound(f"There is no action '{job.action}'")
    action = runtime.catalog[job.action]
    authorization = job.authorization
    if authorization is not None and not await _is_active(runtime, authorization):
        if not job.trusted:
            raise _PermanentError(Unauthenticated("The enqueuer may no longer call"))
        authorization = None
    async with runtime.context(
        "job", authorization=authorization, trusted=job.trusted, request_id=job.request_id or None
    ) as context:
        context.job_id = job.id
        context.cancel_request = cancel
        context.resources.request_part = job.request
        try:
            result = await invoke(action, Payload(job.params, job.tagged).read(), context)
        except ActionError as error:
            # Without a deadline the action has not begun: access control or validation refused the call.
            if context.deadline is None or isinstance(error, InvalidParams):
                raise _PermanentError(error) from error
            raise
        await runtime.flush_progress(job.id)
        assert action.result is not None  # nothing else becomes a job
        encoded = action.result.dump_python(result, mode="json", by_alias=True, warnings=False)
        try:
            to_json(encoded)
        except ValueError as error:
            raise ResultError(f"the result of action '{action.name}' cannot be stored as JSON: {error}") from None
        return encoded
