"""Enqueue jobs: deferred calls of actions, and events of background and webhook channels.

A job stores its input as it was sent, before validation. The input is validated when it is enqueued, so that a mistake
fails early, and once more when the job runs.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from pydantic_core import from_json, to_json

from servey.calls.invoke import Plan, authorize, validate
from servey.core.access import Authorization
from servey.core.actions import Action
from servey.core.channels import BackgroundActionChannel, WebhookEventChannel
from servey.core.context import Context, running_context
from servey.core.errors import InvalidParams, ServeyError, Unauthenticated
from servey.core.payloads import NotStorable, Payload, payload_of
from servey.core.process import Process
from servey.core.queues import PER_CALLER, Job, JobLimit, RequestPart, Retry, check_delay
from servey.observability.metrics import JOBS_ENQUEUED
from servey.observability.telemetry import sending


def why_no_job(plan: Plan, *, has_request: bool = False) -> str | None:
    """Return why an action cannot be called by a job, or None if it can.

    With ``has_request`` the job is made from an HTTP request, whose headers, cookies, query and path it keeps.
    """
    injection = plan.injection
    if injection is not None:
        needed = injection.needed_in_job if has_request else injection.requests_needed
        if needed is not None:
            return f"it needs {needed}"
    if plan.action.signature.streams:
        return "it is a stream"
    if plan.action.result is None:
        return "it returns whole responses"
    return None


async def enqueue(
    context: Context,
    action: Action,
    params: Mapping[str, Any],
    *,
    delay: float = 0,
    key: str | None = None,
    unique_for: float | None = None,
    retry: Retry | None = None,
) -> str:
    """Enqueue a call on behalf of the caller, after access control and validation; return the job's id.

    Errors: InvalidParams, Unauthenticated, Forbidden; ServeyError if a job cannot call the action, or for a bad delay.
    """
    prepared = await _prepared(context, action, params, delay=delay, key=key, unique_for=unique_for, retry=retry)
    return await _put(prepared)


def enqueueing(
    context: Context,
    action: Action,
    params: Mapping[str, Any],
    *,
    delay: float,
    key: str | None,
    unique_for: float | None,
    on_success: bool,
) -> Callable[[], Coroutine[Any, Any, str]]:
    """Return a function that enqueues a call as `enqueue` does; with ``on_success``, when the context's call has succeeded.

    The returned function checks the call at once in both cases, and returns the job's id.
    """
    if not on_success:
        return lambda: enqueue(context, action, params, delay=delay, key=key, unique_for=unique_for)
    ready: Future[_Prepared | None] = Future()  # of threads, since the call may run on another event loop

    async def put() -> None:
        prepared = await asyncio.wrap_future(ready)
        if prepared is not None:
            await _put(replace(prepared, job=replace(prepared.job, enqueued_at=prepared.runtime.clock.now())))

    async def prepare() -> str:
        try:
            prepared = await _prepared(context, action, params, delay=delay, key=key, unique_for=unique_for, retry=None)
        except BaseException:
            ready.set_result(None)
            raise
        ready.set_result(prepared)
        return prepared.job.id

    context.hold_until_success(put)
    return prepare


@dataclass(frozen=True)
class _Prepared:
    """A job that has passed access control and validation."""

    runtime: Process
    job: Job
    delay: float
    key: str | None = None


async def _prepared(
    context: Context,
    action: Action,
    params: Mapping[str, Any],
    *,
    delay: float,
    key: str | None,
    unique_for: float | None,
    retry: Retry | None,
) -> _Prepared:
    plan = context.runtime.plan(action)
    reason = why_no_job(plan)
    if reason is not None:
        raise ServeyError(f"action '{action.name}' ({action.place}) cannot be a job: {reason}")
    check_delay(delay)
    await authorize(plan, context)
    values = await validate(plan, params, context)
    return await _job_of(context, plan, params, values, delay=delay, key=key, unique_for=unique_for, retry=retry)


async def enqueue_valid(
    context: Context,
    plan: Plan,
    given: Mapping[str, Any],
    values: Mapping[str, Any],
    *,
    retry: Retry | None = None,
    request: RequestPart | None = None,
) -> str:
    """Enqueue a call that passed access control; ``values`` is the validated ``given``.

    Errors: InvalidParams for a value that a job cannot store.
    """
    return await _put(await _job_of(context, plan, given, values, retry=retry, request=request))


async def _job_of(
    context: Context,
    plan: Plan,
    given: Mapping[str, Any],
    values: Mapping[str, Any],
    *,
    delay: float = 0,
    key: str | None = None,
    unique_for: float | None = None,
    retry: Retry | None = None,
    request: RequestPart | None = None,
) -> _Prepared:
    action = plan.action
    _check_longest(context.runtime, action)
    names = {name: param.name for param in action.signature.client for name in param.names}
    try:
        payload = payload_of(given, values, names, action.params.validator.validate_python)
    except NotStorable as error:
        problem = {"type": "not_storable", "loc": list(error.loc), "msg": error.problem, "input": None}
        raise InvalidParams([problem]) from None
    caller, owner = await _caller_of(context), await _owner_of(context)
    job = Job(
        id=_new_id(),
        action=action.name,
        params=payload.params,
        authorization=caller,
        trusted=context.trusted,
        request_id=context.request_id,
        retry=retry or action.retry or Retry(),
        enqueued_at=context.runtime.clock.now(),
        tagged=payload.tagged,
        request=request,
        queue=action.queue,
        priority=action.priority,
        limit=_limit_of(action, values, caller, owner, trusted=context.trusted),
        unique_for=unique_for,
        owner=owner,
    )
    return _Prepared(context.runtime, job, delay, None if key is None else _key_of_caller(job, key))


def _check_longest(runtime: Process, action: Action) -> None:
    """Errors: ServeyError for an action that the queue's workers would stop before its own timeout."""
    longest = getattr(runtime.queue, "longest_job", None)
    if longest is not None and action.timeout > longest:
        raise ServeyError(
            f"action '{action.name}' ({action.place}) cannot be a job here: its timeout is {action.timeout:g} s, and Lambda "
            f"stops a job after {longest:g} s; use a shorter timeout, or split the work into several jobs"
        )


async def enqueue_event(
    runtime: Process,
    channel: BackgroundActionChannel[Any] | WebhookEventChannel[Any],
    payload: bytes | Payload,
) -> None:
    """Enqueue a job for an event: it calls the channel's action, or posts to the channel's URL.

    The app decides to publish, not its caller, so the action's access control does not apply.
    """
    context = running_context()
    job = Job(
        id=_new_id(),
        action="",
        params=None,
        authorization=await _caller_of(context) if context is not None else None,
        trusted=True,
        request_id=context.request_id if context is not None else "",
        retry=channel.retry,
        enqueued_at=runtime.clock.now(),
    )
    if isinstance(channel, BackgroundActionChannel):
        assert isinstance(payload, Payload)
        action = channel.action
        limit = _limit_of(action, payload.read(), job.authorization, job.owner, trusted=True)
        job = replace(job, action=action.name, params=payload.params, tagged=payload.tagged, limit=limit)
        job = replace(job, queue=action.queue, priority=action.priority)
        await _put(_Prepared(runtime, job, channel.delay))
    else:
        assert isinstance(payload, bytes)
        await _put(_Prepared(runtime, replace(job, channel=channel.name, params=from_json(payload)), 0))


async def _put(prepared: _Prepared) -> str:
    runtime, job = prepared.runtime, prepared.job
    with sending(runtime, "servey_jobs", job.title, job.id) as carrier:
        traced = replace(job, traceparent=carrier.get("traceparent"))
        job_id = await runtime.queue.enqueue(traced, delay=prepared.delay, key=prepared.key)
    runtime.metrics.add(JOBS_ENQUEUED, job.title)
    return job_id


def _limit_of(
    action: Action, values: Mapping[str, Any], caller: Authorization | None, owner: str | None, *, trusted: bool
) -> JobLimit | None:
    limit = action.limit
    if limit is None:
        return None
    key = action.name
    if limit.per is not None:
        value = _whose(caller, owner, trusted=trusted) if limit.per == PER_CALLER else values.get(limit.per)
        key += ":" + hashlib.sha256(to_json(value, fallback=repr)).hexdigest()[:32]
    starts, seconds = limit.starts or (None, 0.0)
    return JobLimit(key, limit.concurrent, starts, seconds)


def _key_of_caller(job: Job, key: str) -> str:
    """Return a key that no other caller's key can equal; a digest, since callers may choose keys of any length."""
    return hashlib.sha256(
        json.dumps([_whose(job.authorization, job.owner, trusted=job.trusted), key]).encode()
    ).hexdigest()


def _whose(caller: Authorization | None, owner: str | None, *, trusted: bool) -> list[Any]:
    """Return what tells a caller apart from every other one."""
    if owner is not None:
        return ["owner", owner]
    if caller is None:
        return ["app" if trusted else "anonymous"]
    return ["subject", caller.subject_id] if caller.subject_id is not None else ["scopes", *sorted(caller.scopes)]


async def _caller_of(context: Context) -> Authorization | None:
    """Return the caller's authorization; a caller with an invalid token counts as anonymous."""
    try:
        return await context.authorize()
    except Unauthenticated:
        return None


async def _owner_of(context: Context) -> str | None:
    """Return the owner of what a request enqueues, as the host's own dependency says, or None without one."""
    ask, request = context.runtime.job_owner, context.resources.request
    if ask is None or request is None or not context.resources.has_request:
        return None
    owner: str | None = await ask(request)
    return owner


def _new_id() -> str:
    # A job that was enqueued without a token is visible to anyone who knows its id. A command would take an id that begins
    # with "-" for an option.
    while (made := secrets.token_urlsafe(16)).startswith("-"):
        pass
    return made
