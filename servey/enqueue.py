"""Making jobs: of an action that is to be called later, and of an event that is to be delivered."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from servey.access import Authorization
from servey.actions import Action
from servey.channels import BackgroundActionChannel, WebhookEventChannel
from servey.context import Context, running_context
from servey.errors import ServeyError, Unauthenticated
from servey.invoke import Plan, admit, validate
from servey.metrics import JOBS_ENQUEUED
from servey.queues import Job, Retry
from servey.telemetry import sending

if TYPE_CHECKING:
    from servey.runtime import Runtime


def why_no_job(plan: Plan) -> str | None:
    """Why an action can not be called by a job; None where it can."""
    if plan.injection is not None and plan.injection.requests_needed is not None:
        return f"it needs {plan.injection.requests_needed}"
    if plan.action.signature.streams:
        return "it is a stream"
    if plan.action.result is None:
        return "it makes whole responses"
    return None


async def enqueue(
    context: Context,
    action: Action,
    params: Mapping[str, Any],
    *,
    delay: float = 0,
    key: str | None = None,
    retry: Retry | None = None,
) -> str:
    """Has an action called later on behalf of this call's caller, once its parameters fit and the caller may.

    Errors: InvalidParams, Unauthenticated, Forbidden; ServeyError for an action that can not be called by a job.
    """
    plan = context.runtime.plan(action)
    reason = why_no_job(plan)
    if reason is not None:
        raise ServeyError(f"action '{action.name}' ({action.place}) can not be a job: {reason}")
    await admit(plan, context)
    values = await validate(plan, params, context)
    return await enqueue_valid(context, plan, values, delay=delay, key=key, retry=retry)


async def enqueue_valid(
    context: Context,
    plan: Plan,
    values: dict[str, Any],
    *,
    delay: float = 0,
    key: str | None = None,
    retry: Retry | None = None,
) -> str:
    """The same for a call that was admitted and whose parameters were validated."""
    action = plan.action
    job = Job(
        id=_new_id(),
        action=action.name,
        params=action.params.dump_python(values, mode="json", by_alias=True, warnings=False),
        authorization=await _known(context),
        trusted=context.trusted,
        request_id=context.request_id,
        retry=retry or action.retry or Retry(),
        enqueued_at=time.time(),
    )
    return await _put(context.runtime, job, delay=max(delay, 0), key=key)


async def enqueue_event(
    runtime: Runtime, channel: BackgroundActionChannel[Any] | WebhookEventChannel[Any], payload: bytes
) -> None:
    """Makes a job of an event: to call the channel's action, or to post it to the channel's URL.

    That is the app's own decision and not its caller's, so the access rules of the action do not apply.
    """
    event = from_json(payload)
    context = running_context()
    name, params, webhook, delay = "", event, None, 0.0
    if isinstance(channel, BackgroundActionChannel):
        name, params, delay = channel.action.name, {channel.parameter: event}, channel.delay
    else:
        webhook = channel.name
    job = Job(
        id=_new_id(),
        action=name,
        params=params,
        channel=webhook,
        authorization=await _known(context) if context is not None else None,
        trusted=True,
        request_id=context.request_id if context is not None else "",
        retry=channel.retry,
        enqueued_at=time.time(),
    )
    await _put(runtime, job, delay=delay)


async def _put(runtime: Runtime, job: Job, *, delay: float, key: str | None = None) -> str:
    with sending(runtime, "servey_jobs", job.title) as carrier:
        traced = replace(job, traceparent=carrier.get("traceparent"))
        job_id = await runtime.queue.enqueue(traced, delay=delay, key=key)
    runtime.metrics.add(JOBS_ENQUEUED, job.title)
    return job_id


async def _known(context: Context) -> Authorization | None:
    """Who calls, where that is known; a bad token is nobody's."""
    try:
        return await context.authorize()
    except Unauthenticated:
        return None


def _new_id() -> str:
    # Whoever knows the id of a job that nobody in particular enqueued may see it.
    return secrets.token_urlsafe(16)
